package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bipd/cat"
)

// refused are the vectors whose commands are wrong, with the result that tells the card so where the command is decoded.
var refused = map[string]cat.GeneralResult{
	"setup_menu_neg_1": cat.ResultValuesMissing, "setup_menu_neg_2": cat.ResultDataNotUnderstood,
	"setup_menu_neg_3": cat.ResultDataNotUnderstood, "setup_menu_neg_4": cat.ResultDataNotUnderstood,
	"setup_idle_mode_text_241": cat.ResultDataNotUnderstood, "display_text_191": cat.ResultDataNotUnderstood,
	"run_at_command_251": cat.ResultDataNotUnderstood,
}

// withoutInfo is the vector of a result 20 without the octet that has to follow it.
const withoutInfo = "refresh_response_311"

// testVectors takes every vector apart, puts it together again, and compares what it means.
func testVectors(t *testing.T) {
	said := map[string]*recording{}
	for _, kind := range []string{"proactive", "terminal_response", "envelope"} {
		said[kind] = &recording{name: "vectors: " + kind}
		recordings.add(said[kind])
	}
	for i, v := range loadVectors(t) {
		said[v.Kind].exchanges = append(said[v.Kind].exchanges, v.exchange())
		check(t, "vector", fmt.Sprintf("%04d %s: %s", i+1, v.ID, v.Command), func(k *testCase) {
			b := unhex(v.Hex)
			content, head := b, []byte(nil)
			if v.Kind != "terminal_response" {
				_, inner, err := unwrap(b)
				if err != nil {
					k.Fatal(err)
				}
				content, head = inner, b[:len(b)-len(inner)]
			}
			tlvs, err := cat.ParseTLVs(content)
			if err != nil {
				k.Fatal(err)
			}
			if again := append(head[:len(head):len(head)], cat.AppendTLVs(nil, tlvs)...); !bytes.Equal(again, b) {
				k.Errorf("put together again: %X", again)
			}
			compareObjects(k, tlvs, v.Decoded)
			switch v.Kind {
			case "proactive":
				checkCommand(k, v, b)
			case "terminal_response":
				checkResponse(k, v, b)
			default:
				checkEnvelope(k, v, b, tlvs)
			}
		})
	}
}

// exchange is the vector as it would cross the card's contacts.
func (v vector) exchange() exchange {
	b, ok := unhex(v.Hex), []byte{0x90, 0x00}
	switch v.Kind {
	case "proactive":
		return exchange{capdu: []byte{0x80, insFetch, 0, 0, byte(len(b))}, rapdu: append(b, ok...)}
	case "terminal_response":
		return exchange{capdu: append([]byte{0x80, insResponse, 0, 0, byte(len(b))}, b...), rapdu: ok}
	}
	return exchange{capdu: append([]byte{0x80, insEnvelope, 0, 0, byte(len(b))}, b...), rapdu: ok}
}

func compareObjects(k *testCase, tlvs []cat.TLV, d decoded) {
	if len(tlvs) != len(d.TLVs) {
		k.Fatalf("%d objects, want %d", len(tlvs), len(d.TLVs))
	}
	for i, o := range tlvs {
		want := d.TLVs[i]
		tag := unhex(want.Tag)[0]
		if o.Tag != cat.Tag(tag&0x7F) || o.CR != want.CR || len(o.Value) != want.Len {
			k.Errorf("object %d: tag %02X CR %v length %d, want %s %v %d", i, uint16(o.Tag), o.CR, len(o.Value), want.Tag, want.CR, want.Len)
		}
	}
}

func checkCommand(k *testCase, v vector, b []byte) {
	c, err := cat.ParseCommand(b)
	if want, odd := refused[v.ID]; odd && err != nil {
		var re *cat.ResultError
		if !errors.As(err, &re) || re.Result.General != want {
			k.Errorf("refused with %v, want result %02X", err, byte(want))
		}
		return
	}
	if err != nil {
		k.Fatal(err)
	}
	checkHead(k, v.Decoded, c.Details, c.Devices)
	if _, undecoded := c.Body.(*cat.Unsupported); undecoded {
		return
	}
	if got, want := plain(c.Append(nil)), plain(b); got != want {
		k.Errorf("built from its meaning: %s, want %s", got, want)
	}
	for what, pair := range meaning(c.Body, v.Decoded) {
		if pair[0] != pair[1] {
			k.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
}

func checkHead(k *testCase, d decoded, details cat.CommandDetails, devices cat.DeviceIdentities) {
	want := cat.CommandDetails{Number: *d.Number, Type: cat.CommandType(unhex(d.Type)[0]), Qualifier: unhex(d.Qualifier)[0]}
	if details != want {
		k.Errorf("details %+v, want %+v", details, want)
	}
	if wantDevices := (cat.DeviceIdentities{Source: device(d.Source), Destination: device(d.Destination)}); devices != wantDevices {
		k.Errorf("devices %v, want %v", devices, wantDevices)
	}
}

// device turns a name of the vectors into an identity (clause 8.7).
func device(name string) cat.DeviceID {
	for i, n := range []string{"keypad", "display", "earpiece"} {
		if n == name {
			return cat.DeviceID(1 + i)
		}
	}
	for i, n := range []string{"uicc", "terminal", "network"} {
		if n == name {
			return cat.DeviceID(0x81 + i)
		}
	}
	var n int
	if _, err := fmt.Sscanf(name, "card_reader_%d", &n); err == nil {
		return cat.DeviceID(0x10 + n)
	}
	if _, err := fmt.Sscanf(name, "channel_%d", &n); err == nil {
		return cat.DeviceID(0x20 + n)
	}
	panic("device " + name)
}

// meaning pairs what a command's fields say with what the vector says.
func meaning(body cat.Body, d decoded) map[string][2]any {
	switch b := body.(type) {
	case *cat.OpenChannel:
		m := map[string][2]any{
			"bearer":      {byte(b.Bearer.Type), d.Bearer.Type},
			"parameters":  {upper(b.Bearer.Parameters), d.Bearer.Parameters},
			"buffer":      {b.BufferSize, *d.BufferSize},
			"login":       {b.Login.Decode(), d.Texts[0]},
			"password":    {b.Password.Decode(), d.Texts[1]},
			"transport":   {byte(b.Transport.Protocol), d.Transport.Type},
			"port":        {b.Transport.Port, d.Transport.Port},
			"destination": {b.Destination.String(), d.DestinationAddress.Address},
		}
		if d.NAN != nil && b.NetworkAccessName != nil {
			m["access name"] = [2]any{string(*b.NetworkAccessName), strings.Join(d.NAN.Labels, ".")}
		}
		m["has a name"] = [2]any{b.NetworkAccessName != nil, d.NAN != nil}
		return withAlpha(m, b.Alpha, d)
	case *cat.CloseChannel:
		return withAlpha(map[string][2]any{}, b.Alpha, d)
	case *cat.GetChannelStatus:
		return withAlpha(map[string][2]any{}, b.Alpha, d)
	case *cat.ReceiveData:
		return withAlpha(map[string][2]any{"length": {b.Length, *d.ChannelDataLength}}, b.Alpha, d)
	case *cat.SendData:
		return withAlpha(map[string][2]any{"data": {upper(b.Data), *d.ChannelData}}, b.Alpha, d)
	case *cat.PollInterval:
		units := []string{"minutes", "seconds", "tenths of seconds"}
		return map[string][2]any{"unit": {units[b.Interval.Unit], d.Duration.Unit}, "interval": {b.Interval.Interval, d.Duration.Interval}}
	case *cat.SetUpEventList:
		var codes []byte
		for _, e := range b.Events {
			codes = append(codes, byte(e))
		}
		return map[string][2]any{"events": {upper(codes), strings.Join(d.Events, "")}}
	case *cat.LanguageNotification:
		return map[string][2]any{"language": {string(b.Language), d.Language}}
	case *cat.TimerManagement:
		m := map[string][2]any{"timer": {b.Timer, d.TimerID}, "has a value": {b.Value != nil, d.TimerValue != ""}}
		if b.Value != nil {
			at := time.Time{}.Add(time.Duration(*b.Value))
			m["value"] = [2]any{at.Format("15:04:05"), d.TimerValue}
		}
		return m
	}
	return nil
}

func withAlpha(m map[string][2]any, a *cat.Alpha, d decoded) map[string][2]any {
	m["has an alpha identifier"] = [2]any{a != nil, d.AlphaID != nil}
	if a != nil && d.AlphaID != nil {
		m["alpha identifier"] = [2]any{a.Decode(), *d.AlphaID}
	}
	return m
}

func checkResponse(k *testCase, v vector, b []byte) {
	d := v.Decoded
	r, devices, err := cat.ParseResponse(b)
	if v.ID == withoutInfo {
		if err == nil {
			k.Errorf("a result without its mandatory additional information was taken")
		}
		return
	}
	if err != nil {
		k.Fatal(err)
	}
	checkHead(k, d, r.Details, devices)
	if got, want := upper(resultBytes(r.Result)), d.Result+d.AdditionalInfo; got != want {
		k.Errorf("result %s, want %s", got, want)
	}
	if got, want := plain(r.Append(nil)), plain(b); got != want {
		k.Errorf("built from its meaning: %s, want %s", got, want)
	}
	checkStatuses(k, r.Objects, d)
	if d.ChannelData != nil {
		if o, _ := cat.Find(r.Objects, cat.TagChannelData); upper(o.Value) != *d.ChannelData {
			k.Errorf("channel data %X, want %s", o.Value, *d.ChannelData)
		}
	}
	if d.BufferSize != nil {
		if o, _ := cat.Find(r.Objects, cat.TagBufferSize); plain(cat.AppendTLV(nil, o)) != plain(cat.AppendTLV(nil, cat.BufferSizeObject(*d.BufferSize))) {
			k.Errorf("buffer size %X, want %d", o.Value, *d.BufferSize)
		}
	}
}

// checkStatuses compares every channel status and the channel data length.
func checkStatuses(k *testCase, objects []cat.TLV, d decoded) {
	at := 0
	for _, o := range objects {
		switch o.Tag {
		case cat.TagChannelStatus:
			s, err := cat.ParseChannelStatus(o.Value)
			if err != nil || at >= len(d.ChannelStatus) {
				k.Fatalf("channel status %d, %X: %v", at, o.Value, err)
			}
			want := unhex(d.ChannelStatus[at].Raw)
			if s.Channel != int(want[0]&7) || byte(s.Link) != want[0]&0xC0 || s.Info != want[1] {
				k.Errorf("channel status %v, want %X", s, want)
			}
			at++
		case cat.TagChannelDataLength:
			if d.ChannelDataLength == nil || len(o.Value) != 1 || o.Value[0] != *d.ChannelDataLength {
				k.Errorf("channel data length %X", o.Value)
			}
		}
	}
	if at != len(d.ChannelStatus) {
		k.Errorf("%d channel statuses, want %d", at, len(d.ChannelStatus))
	}
}

func checkEnvelope(k *testCase, v vector, b []byte, tlvs []cat.TLV) {
	d := v.Decoded
	e, err := cat.ParseEnvelope(b)
	if err != nil {
		k.Fatal(err)
	}
	if again := e.Append(nil); !bytes.Equal(again, b) {
		k.Errorf("put together again: %X", again)
	}
	code, isEvent := e.Event()
	if len(d.Events) == 1 && (!isEvent || byte(code) != unhex(d.Events[0])[0]) {
		k.Errorf("event %v %v, want %s", code, isEvent, d.Events[0])
	}
	if isEvent != strings.HasPrefix(v.Command, "EVENT DOWNLOAD") {
		k.Errorf("event %v: %s", code, v.Command)
	}
	checkStatuses(k, tlvs, d)
	var built cat.Envelope
	switch v.Command { // those that this terminal sends are built from their meaning
	case "EVENT DOWNLOAD - DATA AVAILABLE":
		built = cat.DataAvailableEvent(status(d), int(*d.ChannelDataLength))
	case "EVENT DOWNLOAD - CHANNEL STATUS":
		built = cat.ChannelStatusEvent(status(d))
	case "TIMER EXPIRATION":
		at, err := time.Parse("15:04:05", d.TimerValue)
		if err != nil {
			k.Fatal(err)
		}
		built = cat.TimerExpirationEnvelope(d.TimerID, cat.TimerValue(at.Sub(at.Truncate(24*time.Hour))))
	default:
		return
	}
	if got, want := plain(built.Append(nil)), plain(b); got != want {
		k.Errorf("built from its meaning: %s, want %s", got, want)
	}
}

func status(d decoded) cat.ChannelStatus {
	s, err := cat.ParseChannelStatus(unhex(d.ChannelStatus[0].Raw))
	if err != nil {
		panic(err)
	}
	return s
}
