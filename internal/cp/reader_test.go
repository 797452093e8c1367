package cp_test

import (
	"path/filepath"
	"testing"

	"bipd/internal/cp"
)

func TestOpenReader(t *testing.T) {
	for _, name := range []string{"", "pcsc", "pcsc:", "vpcd:", "usb:1", "vpcd:/no/kind"} {
		if r, _, err := cp.OpenReader(name, nil); err == nil || r != nil {
			t.Errorf("reader %q: %v, %v", name, r, err)
		}
	}
	name := "vpcd:unix:" + filepath.Join(t.TempDir(), "card")
	for range 2 { // closing gives the socket back
		r, closeReader, err := cp.OpenReader(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Name() != name {
			t.Errorf("name %q", r.Name())
		}
		if err := closeReader(); err != nil {
			t.Error(err)
		}
	}
	r, closeReader, err := cp.OpenReader("pcsc:Some Reader 00 00", nil)
	if err != nil || r.Name() != "Some Reader 00 00" {
		t.Fatalf("%v, %v", r, err)
	}
	closeReader()
}
