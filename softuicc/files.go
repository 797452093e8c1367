package softuicc

import (
	"bytes"
	"fmt"
)

type fileKind int

const (
	kindDF fileKind = iota // MF, DF or ADF
	kindTransparent
	kindLinear // linear fixed
)

// file is one node of the card's file tree (ETSI TS 102 221 clause 8). The tree does not change once built.
type file struct {
	fid      uint16
	kind     fileKind
	sfi      byte // short file identifier; 0 = none
	private  bool // reading wants the PIN
	body     []byte
	records  [][]byte
	aid      []byte // of an ADF
	parent   *file
	children []*file
}

func (f *file) size() int {
	if f.kind == kindLinear {
		return len(f.records) * len(f.records[0])
	}
	return len(f.body)
}

func (f *file) add(children ...*file) *file {
	for _, k := range children {
		k.parent = f
	}
	f.children = append(f.children, children...)
	return f
}

func (f *file) child(fid uint16) *file {
	for _, k := range f.children {
		if k.fid == fid && fid != 0 {
			return k
		}
	}
	return nil
}

// bySFI finds a file of the directory by its short file identifier.
func (f *file) bySFI(sfi byte) *file {
	for _, k := range f.children {
		if k.kind != kindDF && k.sfi == sfi && sfi != 0 {
			return k
		}
	}
	return nil
}

// usimAID names the USIM (ETSI TS 101 220 annex E: RID of 3GPP, application 1002).
var usimAID = []byte{0xA0, 0x00, 0x00, 0x00, 0x87, 0x10, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x89, 0x03, 0x02, 0x00, 0x00}

func transparent(fid uint16, sfi byte, private bool, body []byte) *file {
	return &file{fid: fid, kind: kindTransparent, sfi: sfi, private: private, body: body}
}

// buildFiles makes the tree of a UICC with a USIM (3GPP TS 31.102 clause 4) or of a GSM SIM (3GPP TS 51.011 clause 10).
func buildFiles(cfg Config) (*file, error) {
	iccid, err := digits(or(cfg.ICCID, "8988300000000000017"), 20, "ICCID")
	if err != nil {
		return nil, err
	}
	imsiDigits := or(cfg.IMSI, "001010123456789")
	imsi, err := imsiBody(imsiDigits)
	if err != nil {
		return nil, err
	}
	mf := &file{fid: 0x3F00}
	mf.add(transparent(0x2FE2, 0x02, false, iccid)) // EF_ICCID
	ad := []byte{0x00, 0x00, 0x00, 0x02}            // normal operation, MNC of two digits
	if cfg.GSM {
		mf.add((&file{fid: 0x7F20}).add( // DF_GSM
			transparent(0x6F05, 0, false, []byte{0x01}), // EF_LP: English
			transparent(0x6F07, 0, true, imsi),
			transparent(0x6FAD, 0, false, ad),
			transparent(0x6FAE, 0, false, []byte{0x03}), // EF_Phase: 2+, profile download required
			transparent(0x6F7E, 0, true, loci),
		))
		return mf, nil
	}
	mf.add(
		transparent(0x2F05, 0x05, false, []byte("en")), // EF_PL
		&file{fid: 0x2F00, kind: kindLinear, sfi: 0x1E, records: dirRecords(or(cfg.Label, "soft USIM"))},
		(&file{aid: usimAID}).add(
			transparent(0x6F05, 0x02, false, []byte("en")), // EF_LI
			transparent(0x6F07, 0x07, true, imsi),          // EF_IMSI
			transparent(0x6FAD, 0x03, false, ad),           // EF_AD
			transparent(0x6F38, 0x04, true, make([]byte, 12)),
			transparent(0x6F78, 0x06, true, []byte{0x00, 0x01}), // EF_ACC
			transparent(0x6F7E, 0x0B, true, loci),               // EF_LOCI
		),
	)
	return mf, nil
}

// loci is an EF_LOCI of a card that was never registered (3GPP TS 31.102 clause 4.2.17).
var loci = []byte{0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0xF1, 0x10, 0xFF, 0xFE, 0xFF, 0x01}

// dirRecords makes EF_DIR (ETSI TS 102 221 clause 13.1): one application template, and a free record.
func dirRecords(label string) [][]byte {
	v := appendTLV(nil, 0x4F, usimAID)
	v = appendTLV(v, 0x50, []byte(label))
	rec := appendTLV(nil, 0x61, v)
	size := max(len(rec), 48)
	pad := func(b []byte) []byte { return append(b, bytes.Repeat([]byte{0xFF}, size-len(b))...) }
	return [][]byte{pad(rec), pad(nil)}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// digits packs decimal digits, low nibble first, padded with F to n digits.
func digits(s string, n int, what string) ([]byte, error) {
	if len(s) > n {
		return nil, fmt.Errorf("softuicc: %s of %d digits, at most %d fit", what, len(s), n)
	}
	out := bytes.Repeat([]byte{0xFF}, n/2)
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return nil, fmt.Errorf("softuicc: %s %q: not a digit: %q", what, s, s[i])
		}
		if i%2 == 0 {
			out[i/2] = 0xF0 | d
		} else {
			out[i/2] = out[i/2]&0x0F | d<<4
		}
	}
	return out, nil
}

// imsiBody codes EF_IMSI (3GPP TS 31.102 clause 4.2.2): length, then parity and digits.
func imsiBody(s string) ([]byte, error) {
	if len(s) == 0 || len(s) > 15 {
		return nil, fmt.Errorf("softuicc: IMSI of %d digits, 1 to 15 fit", len(s))
	}
	parity := byte('1')
	if len(s)%2 == 1 {
		parity = '9'
	}
	packed, err := digits(string(parity)+s, 16, "IMSI")
	if err != nil {
		return nil, err
	}
	return append([]byte{byte(len(s)/2 + 1)}, packed...), nil
}

// appendTLV appends a BER-TLV with a one-octet tag.
func appendTLV(dst []byte, tag byte, value []byte) []byte {
	dst = append(dst, tag)
	if len(value) > 0x7F {
		dst = append(dst, 0x81)
	}
	return append(append(dst, byte(len(value))), value...)
}

// fcp makes the file control parameters (ETSI TS 102 221 clause 11.1.1.3).
func (c *Card) fcp(f *file) []byte {
	var v []byte
	switch f.kind {
	case kindDF:
		v = appendTLV(v, 0x82, []byte{0x78, 0x21})
	case kindTransparent:
		v = appendTLV(v, 0x82, []byte{0x41, 0x21})
	case kindLinear:
		v = appendTLV(v, 0x82, []byte{0x42, 0x21, 0x00, byte(len(f.records[0])), byte(len(f.records))})
	}
	if f.aid != nil {
		v = appendTLV(v, 0x84, f.aid)
	} else {
		v = appendTLV(v, 0x83, []byte{byte(f.fid >> 8), byte(f.fid)})
	}
	if f.kind == kindDF {
		v = appendTLV(v, 0xA5, []byte{0x80, 0x01, 0x71})
	}
	v = appendTLV(v, 0x8A, []byte{0x05}) // operational, activated
	v = appendTLV(v, 0x8B, []byte{0x2F, 0x06, 0x01})
	if f.kind == kindDF {
		enabled := byte(0x80)
		if c.pins.code == nil {
			enabled = 0
		}
		v = appendTLV(v, 0xC6, []byte{0x90, 0x01, enabled, 0x83, 0x01, 0x01})
	} else {
		v = appendTLV(v, 0x80, []byte{byte(f.size() >> 8), byte(f.size())})
		if f.sfi != 0 {
			v = appendTLV(v, 0x88, []byte{f.sfi << 3})
		} else {
			v = appendTLV(v, 0x88, nil)
		}
	}
	return appendTLV(nil, 0x62, v)
}
