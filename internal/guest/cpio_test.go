package guest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// entry is what readCPIO finds.
type entry struct {
	name string
	mode uint32
	data string
}

// readCPIO reads one or more newc archives, one after the other, as buffer-format.rst describes them.
func readCPIO(t *testing.T, b []byte) (list []entry) {
	t.Helper()
	for at := 0; at < len(b); {
		h := b[at:]
		if len(h) < 110 || string(h[:6]) != "070701" {
			t.Fatalf("octet %d: no header: %.20q", at, h)
		}
		field := func(i int) int {
			v, err := strconv.ParseUint(string(h[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(v)
		}
		size, names := field(6), field(11)
		name := string(h[110 : 110+names-1])
		if h[110+names-1] != 0 {
			t.Fatalf("the name %q has no end", name)
		}
		data := (110 + names + 3) &^ 3
		if name == "TRAILER!!!" {
			list = append(list, entry{name: name})
		} else {
			list = append(list, entry{name, uint32(field(1)), string(h[data : data+size])})
		}
		at += (data + size + 3) &^ 3
	}
	return list
}

func TestArchive(t *testing.T) {
	var b bytes.Buffer
	for range 2 { // the second continues the first
		a := newArchive(&b)
		a.dir("/etc", 0o700)
		a.text("/etc/a", 0o640, []byte("12345"))
		a.link("usr/lib/x", "../y")
		a.file("bin/tool", 0o755, 3, strings.NewReader("abc"))
		a.dir("etc/", 0o755) // is there
		if err := a.close(); err != nil {
			t.Fatal(err)
		}
	}
	one := []entry{
		{"etc", modeDir | 0o700, ""},
		{"etc/a", modeRegular | 0o640, "12345"},
		{"usr", modeDir | 0o755, ""},
		{"usr/lib", modeDir | 0o755, ""},
		{"usr/lib/x", modeLink | 0o777, "../y"},
		{"bin", modeDir | 0o755, ""},
		{"bin/tool", modeRegular | 0o755, "abc"},
		{name: "TRAILER!!!"},
	}
	if got := readCPIO(t, b.Bytes()); !slices.Equal(got, slices.Concat(one, one)) {
		t.Errorf("archive %v\nwant twice %v", got, one)
	}
}

// The octets of the smallest archive, so that the reader above and the writer do not share a mistake.
func TestArchiveOctets(t *testing.T) {
	var b bytes.Buffer
	a := newArchive(&b)
	a.text("a", 0o644, []byte("x"))
	want := "070701" + "00000001" + "000081A4" + "00000000" + "00000000" + "00000001" + "00000000" + "00000001" +
		strings.Repeat("00000000", 4) + "00000002" + "00000000" + "a\x00" + "x\x00\x00\x00"
	if b.String() != want {
		t.Errorf("archive\n%s\nwant\n%s", hex.Dump(b.Bytes()), hex.Dump([]byte(want)))
	}
}

func TestArchiveErrors(t *testing.T) {
	a := newArchive(new(bytes.Buffer))
	a.file("a", 0o644, 10, strings.NewReader("short"))
	if err := a.close(); !errors.Is(err, io.EOF) {
		t.Errorf("a file that is shorter than it was said to be: %v", err)
	}
	a = newArchive(new(bytes.Buffer))
	a.file("a", 0o644, newcMax+1, strings.NewReader(""))
	if err := a.close(); err == nil {
		t.Error("a file that newc cannot hold is no error")
	}
	a = newArchive(failing{})
	a.text("a", 0o644, nil)
	if err := a.close(); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
}

var errFull = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, fmt.Errorf("disk: %w", errFull) }
