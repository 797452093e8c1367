package conformance

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"bipd/cat"
)

// message is the toolkit's part of an exchange: the list of objects, and where it begins in the exchange's octets.
type message struct {
	ins     byte
	whole   []byte // with its template
	content []byte
}

// messageOf finds the message of an exchange, if it has one.
func messageOf(e exchange) (message, bool) {
	m := message{ins: e.capdu[1]}
	if e.capdu[0] != 0x80 {
		return m, false
	}
	switch m.ins {
	case insFetch:
		if len(e.rapdu) <= 2 {
			return m, false
		}
		m.whole = e.rapdu[:len(e.rapdu)-2]
	case insResponse, insEnvelope:
		m.whole = e.capdu[5:]
	default:
		return m, false
	}
	m.content = m.whole
	if m.ins != insResponse {
		_, inner, err := unwrap(m.whole)
		if err != nil {
			return m, false
		}
		m.content = inner
	}
	return m, true
}

// leaves are the fields of a message as this project's codec reads them, under tshark's names; nil where it refuses it.
func (m message) leaves() map[string][]string {
	switch m.ins {
	case insFetch:
		c, err := cat.ParseCommand(m.whole)
		if err != nil {
			return nil
		}
		l := head(c.Details, c.Devices)
		commandLeaves(l, c.Body)
		return l
	case insResponse:
		r, devices, err := cat.ParseResponse(m.whole)
		if err != nil {
			return nil
		}
		l := head(r.Details, devices)
		l["result"] = []string{octet(byte(r.Result.General))}
		if g := r.Result.General; len(r.Result.Info) > 0 && slices.Contains(readInfo, g) {
			l["result."] = []string{octet(r.Result.Info[0])}
		}
		for _, o := range r.Objects {
			switch o.Tag {
			case cat.TagBufferSize:
				l["buffer_size"] = []string{fmt.Sprint(binary.BigEndian.Uint16(o.Value))}
			case cat.TagBearerDescription:
				l["bearer.descr"] = []string{octet(o.Value[0])}
			}
		}
		return l
	}
	e, err := cat.ParseEnvelope(m.whole)
	if err != nil {
		return nil
	}
	l := map[string][]string{}
	if code, ok := e.Event(); ok {
		l["event"] = []string{octet(byte(code))}
	}
	if d, ok := cat.Find(e.Objects, cat.TagDeviceIdentities); ok && len(d.Value) == 2 {
		l["src_dev"], l["dst_dev"] = []string{octet(d.Value[0])}, []string{octet(d.Value[1])}
	}
	return l
}

// readInfo are the results whose additional information tshark reads.
var readInfo = []cat.GeneralResult{0x20, 0x26, 0x38, 0x39, 0x3A, 0x3C}

func octet(b byte) string { return fmt.Sprintf("%02x", b) }

func head(d cat.CommandDetails, v cat.DeviceIdentities) map[string][]string {
	return map[string][]string{
		"cmd_nr": {octet(d.Number)}, "cmd_type": {octet(byte(d.Type))}, "cmd_qual": {octet(d.Qualifier)},
		"src_dev": {octet(byte(v.Source))}, "dst_dev": {octet(byte(v.Destination))},
	}
}

func commandLeaves(l map[string][]string, body cat.Body) {
	switch b := body.(type) {
	case *cat.OpenChannel:
		l["buffer_size"] = []string{fmt.Sprint(b.BufferSize)}
		if b.Bearer != nil {
			l["bearer.descr"] = []string{octet(byte(b.Bearer.Type))}
		}
		if b.Transport != nil {
			l["transport.ptype"] = []string{octet(byte(b.Transport.Protocol))}
			l["transport.port"] = []string{fmt.Sprint(b.Transport.Port)}
		}
		if b.Destination != nil && b.Destination.Is4() {
			l["other_address.ipv4"] = []string{b.Destination.String()}
		}
		if b.Destination != nil && b.Destination.Is6() {
			l["other_address.ipv6"] = []string{b.Destination.String()}
		}
		if b.NetworkAccessName != nil {
			l["apn"] = []string{string(*b.NetworkAccessName)}
		}
		for _, t := range []*cat.Text{b.Login, b.Password} {
			if t != nil {
				l["text"] = append(l["text"], t.Decode())
			}
		}
	case *cat.SetUpEventList:
		for _, e := range b.Events {
			l["event"] = append(l["event"], octet(byte(e)))
		}
	}
}

// theirs are tshark's fields under the same names.
func (d decode) theirs() map[string][]string {
	l := map[string][]string{}
	for _, t := range d.tlvs {
		t.walk(func(f pdmlField) {
			name, ok := strings.CutPrefix(f.Name, "etsi_cat.comp_tlv.")
			switch {
			case f.Name == "gsm_a.gm.sm.apn":
				name = "apn"
			case !ok:
				return
			case strings.HasPrefix(name, "result."):
				name = "result."
			case strings.HasPrefix(name, "cmd_qual"):
				name = "cmd_qual"
			}
			value := f.Value
			if f.Unmasked != "" {
				value = f.Unmasked
			}
			switch name {
			case "buffer_size", "transport.port", "other_address.ipv4", "other_address.ipv6", "apn", "text":
				value = f.Show
			}
			l[name] = append(l[name], value)
		})
	}
	return l
}

// sentTag is the tag of a data object that tshark shows by its value alone, from the octets that were sent.
func sentTag(sent []byte, f pdmlField) (byte, error) {
	at := f.Pos - headers - 2
	if f.Size > 0x7F {
		at--
	}
	if at < 0 || f.Pos-headers+f.Size > len(sent) {
		return 0, fmt.Errorf("object at %d with %d octets lies outside the packet", f.Pos, f.Size)
	}
	return sent[at], nil
}
