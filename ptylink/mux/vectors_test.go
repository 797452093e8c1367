package mux

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// vector is one line of mux.jsonl.
type vector struct {
	Name       string
	Kind       string
	Hex        string
	FCS        string
	Steps      []string
	Residue    string
	Decode     *vectorFrame
	Expect     []vectorFrame
	ExpectLast *vectorFrame `json:"expect_last"`
}

type vectorFrame struct {
	DLCI     int
	CR, PF   int
	Type     string
	Len      int
	LenBytes int `json:"len_bytes"`
	Info     string
	FCS      string
	Ctl      *struct {
		Cmd   string
		CR    int
		Len   int
		Value string
	}
}

// loadVectors reads the vectors that lie beside the repository.
func loadVectors(t *testing.T) []vector {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.Open(filepath.Join(dir, "..", "shared", "vectors", "mux.jsonl"))
	if err != nil {
		t.Skipf("vectors are not beside the repository: %v", err)
	}
	defer f.Close()
	var vectors []vector
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return vectors
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	kinds := map[string]func(*testing.T, vector){
		"fcs":             vectorFCS,
		"fcs_check":       vectorFCSCheck,
		"table":           vectorTable,
		"frame_basic":     vectorFrameBasic,
		"frame_advanced":  vectorFrameAdvanced,
		"stream_basic":    func(t *testing.T, v vector) { vectorStream(t, v, false) },
		"stream_advanced": func(t *testing.T, v vector) { vectorStream(t, v, true) },
	}
	seen := map[string]bool{}
	for _, v := range loadVectors(t) {
		test := kinds[v.Kind]
		if test == nil {
			t.Errorf("%s: unknown kind %q", v.Name, v.Kind)
			continue
		}
		seen[v.Kind] = true
		t.Run(v.Name, func(t *testing.T) { test(t, v) })
	}
	for kind := range kinds {
		if !seen[kind] {
			t.Errorf("no vector of kind %s", kind)
		}
	}
}

func vectorFCS(t *testing.T, v vector) {
	sum := byte(fcsStart)
	steps := []string{hex.EncodeToString([]byte{sum})}
	for _, o := range unhex(t, v.Hex) {
		sum = fcsSum(sum, []byte{o})
		steps = append(steps, hex.EncodeToString([]byte{sum}))
	}
	for i, want := range v.Steps {
		if steps[i] != want {
			t.Errorf("step %d is %s, want %s", i, steps[i], want)
		}
	}
	if got := hex.EncodeToString([]byte{^sum}); got != v.FCS {
		t.Errorf("FCS %s, want %s", got, v.FCS)
	}
}

func vectorFCSCheck(t *testing.T, v vector) {
	sum := fcsSum(fcsStart, unhex(t, v.Hex))
	if sum != fcsGood || hex.EncodeToString([]byte{sum}) != v.Residue {
		t.Errorf("residue %02x, want %s", sum, v.Residue)
	}
}

func vectorTable(t *testing.T, v vector) {
	want := unhex(t, v.Hex)
	if !bytes.Equal(fcsTable[:len(want)], want) {
		t.Errorf("table begins % x", fcsTable[:len(want)])
	}
}

// equalFrame compares a frame with what the vector decodes to.
func equalFrame(t *testing.T, f frame, want vectorFrame, withBits bool) {
	t.Helper()
	if f.dlci != want.DLCI || f.typ.String() != want.Type {
		t.Errorf("decoded as %v", f)
	}
	if withBits && (f.cr != (want.CR == 1) || f.pf != (want.PF == 1)) {
		t.Errorf("C/R %t P/F %t, want %d and %d", f.cr, f.pf, want.CR, want.PF)
	}
	if info := unhex(t, want.Info); !bytes.Equal(f.info, info) {
		t.Errorf("information % x, want % x", f.info, info)
	}
}

// vectorFrameBasic reads one frame by itself, and through the decoder where a stream
// can carry it.
func vectorFrameBasic(t *testing.T, v vector) {
	raw := unhex(t, v.Hex)
	f, n, err := parseBasic(raw[1:], maxInfo)
	if err != nil || n != len(raw)-1 {
		t.Fatalf("used %d of %d octets, error %v", n, len(raw)-1, err)
	}
	equalFrame(t, f, *v.Decode, true)
	if out := appendBasic(nil, f); !bytes.Equal(out, raw) {
		t.Errorf("encoded again % x, want % x", out, raw)
	}
	if v.Decode.Ctl != nil {
		vectorMessage(t, f.info, v)
	}
	got := decodeAll(&decoder{n1: 1500}, raw)
	switch {
	case len(f.info) > 1500 || f.dlci > highestDLCI: // dropped; its address is taken for a flag
		if len(got) != 0 {
			t.Errorf("decoder gave %v", got)
		}
	case len(got) != 1:
		t.Errorf("decoder gave %d frames", len(got))
	default:
		equalFrame(t, got[0], *v.Decode, true)
	}
}

func vectorMessage(t *testing.T, info []byte, v vector) {
	ctl := v.Decode.Ctl
	m, rest, err := parseMessage(info)
	if err != nil || len(rest) != 0 {
		t.Fatalf("rest % x, error %v", rest, err)
	}
	name := map[string]string{"TEST": "Test", "SNC": "message d1"}[ctl.Cmd]
	if name == "" {
		name = ctl.Cmd
	}
	if m.typ.String() != name || m.command != (ctl.CR == 1) || len(m.value) != ctl.Len ||
		!bytes.Equal(m.value, unhex(t, ctl.Value)) {
		t.Errorf("decoded as %v %+v", m.typ, m)
	}
	if out := appendMessage(nil, m); !bytes.Equal(out, info) {
		t.Errorf("encoded again % x, want % x", out, info)
	}
	switch m.typ {
	case msgPN:
		p, err := parseParameters(m.value)
		if err != nil || !bytes.Equal(p.value(), m.value) {
			t.Errorf("parameters %+v, error %v", p, err)
		}
	case msgMSC:
		if s, err := parseModemStatus(m.value); err != nil || !bytes.Equal(s.value(), m.value[:2]) {
			t.Errorf("modem status %+v, error %v", s, err)
		}
	}
}

func vectorFrameAdvanced(t *testing.T, v vector) {
	raw := unhex(t, v.Hex)
	got := decodeAll(&decoder{n1: 1500, advanced: true}, raw)
	if len(got) != 1 {
		t.Fatalf("decoder gave %d frames", len(got))
	}
	equalFrame(t, got[0], *v.Decode, true)
	if out := appendAdvanced(nil, got[0]); !bytes.Equal(out, raw) {
		t.Errorf("encoded again % x, want % x", out, raw)
	}
}

// vectorStream decodes a stream at once and octet by octet.
func vectorStream(t *testing.T, v vector, advanced bool) {
	raw := unhex(t, v.Hex)
	whole := decodeAll(&decoder{n1: 1500, advanced: advanced}, raw)
	d := &decoder{n1: 1500, advanced: advanced}
	var single []frame
	for i := range raw {
		single = append(single, decodeAll(d, raw[i:i+1])...)
	}
	for how, got := range map[string][]frame{"whole": whole, "octet by octet": single} {
		if v.ExpectLast != nil {
			if len(got) == 0 {
				t.Fatalf("%s: no frame", how)
			}
			equalFrame(t, got[len(got)-1], *v.ExpectLast, false)
			continue
		}
		if len(got) != len(v.Expect) {
			t.Fatalf("%s: %d frames, want %d: %v", how, len(got), len(v.Expect), got)
		}
		for i, f := range got {
			equalFrame(t, f, v.Expect[i], false)
		}
	}
}

// decodeAll feeds b and gives copies of the frames found.
func decodeAll(d *decoder, b []byte) []frame {
	d.feed(b)
	return drain(d)
}

func drain(d *decoder) []frame {
	var frames []frame
	for {
		f, ok := d.next()
		if !ok {
			return frames
		}
		f.info = bytes.Clone(f.info)
		frames = append(frames, f)
	}
}
