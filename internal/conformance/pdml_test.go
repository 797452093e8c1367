package conformance

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// pdmlField is one field of tshark's decode with those under it.
type pdmlField struct {
	Name     string      `xml:"name,attr"`
	Pos      int         `xml:"pos,attr"`
	Size     int         `xml:"size,attr"`
	Show     string      `xml:"show,attr"`
	ShowName string      `xml:"showname,attr"`
	Value    string      `xml:"value,attr"`         // in hexadecimal digits
	Unmasked string      `xml:"unmaskedvalue,attr"` // of a field of some bits: the whole octets
	Fields   []pdmlField `xml:"field"`
	Protos   []pdmlField `xml:"proto"`
}

func (f pdmlField) walk(visit func(pdmlField)) {
	visit(f)
	for _, list := range [][]pdmlField{f.Protos, f.Fields} {
		for _, sub := range list {
			sub.walk(visit)
		}
	}
}

// decode is what tshark makes of one packet.
type decode struct {
	tlvs    []pdmlField // etsi_cat.comp_tlv
	profile []pdmlField // gsm_sim.tp.*
	faults  []string    // malformed packets, expert messages
}

// readPDML reads tshark's output, packet by packet.
func readPDML(r io.Reader) ([]decode, error) {
	d := xml.NewDecoder(r)
	var list []decode
	for {
		token, err := d.Token()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "packet" {
			continue
		}
		var p pdmlField
		if err := d.DecodeElement(&p, &start); err != nil {
			return list, fmt.Errorf("packet %d: %w", len(list)+1, err)
		}
		list = append(list, decodeOf(p))
	}
}

func decodeOf(p pdmlField) decode {
	var d decode
	p.walk(func(f pdmlField) {
		switch {
		case f.Name == "etsi_cat.comp_tlv":
			d.tlvs = append(d.tlvs, f)
		case strings.HasPrefix(f.Name, "gsm_sim.tp."):
			d.profile = append(d.profile, f)
		case f.Name == "_ws.malformed", f.Name == "_ws.expert.message":
			d.faults = append(d.faults, f.Name+" "+f.Show+f.ShowName)
		}
	})
	return d
}

// bits are the bits of its octet that a field of the TERMINAL PROFILE stands for, lowest first, from the pattern of
// points and digits before its label.
func (f pdmlField) bits() []int {
	pattern, _, ok := strings.Cut(f.ShowName, " = ")
	pattern = strings.ReplaceAll(pattern, " ", "")
	if !ok || len(pattern) != 8 {
		return nil
	}
	var bits []int
	for i := 7; i >= 0; i-- {
		if pattern[i] != '.' {
			bits = append(bits, 8-i)
		}
	}
	return bits
}

// number is the value of a field.
func (f pdmlField) number() int {
	n, err := strconv.ParseInt(f.Value, 16, 32)
	if err != nil {
		return -1
	}
	return int(n)
}
