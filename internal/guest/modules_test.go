package guest

import (
	"bytes"
	"encoding/binary"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseModinfo(t *testing.T) {
	got := parseModinfo([]byte("license=GPL\x00depends=usb-common,usbcore\x00softdep=pre: crc32c post: late\x00softdep=pre: a-b c" +
		"\x00alias=crc32c\x00alias=pci:v*d*\x00alias=char-major-10\x00alias\x00depends\x00\x00noise"))
	want := moduleInfo{Depends: []string{"usb_common", "usbcore"}, Before: []string{"crc32c", "a_b", "c"}, Aliases: []string{"crc32c", "char_major_10"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := parseModinfo(nil); !reflect.DeepEqual(got, moduleInfo{}) {
		t.Errorf("of nothing %+v", got)
	}
}

func FuzzParseModinfo(f *testing.F) {
	f.Add([]byte("depends=a,b\x00softdep=pre: c\x00alias=d\x00"))
	f.Fuzz(func(t *testing.T, section []byte) {
		info := parseModinfo(section)
		for _, name := range slices.Concat(info.Depends, info.Before, info.Aliases) {
			if name == "" || strings.ContainsAny(name, "-\x00") {
				t.Errorf("name %q", name)
			}
		}
	})
}

// tree is a small kernel's: usb with its parts, nf_tables with a soft dependency by another name, and two that recommend
// each other.
func tree() *moduleTree {
	return &moduleTree{
		Modules: map[string]moduleInfo{
			"usb_common":     {},
			"usbcore":        {Depends: []string{"usb_common"}},
			"xhci_hcd":       {Depends: []string{"usbcore", "usb_common"}},
			"xhci_pci":       {Depends: []string{"xhci_hcd"}},
			"libcrc32c":      {Before: []string{"crc32c", "not_in_this_kernel"}},
			"crc32c_generic": {Aliases: []string{"crc32c"}},
			"crc32c_intel":   {Aliases: []string{"crc32c"}},
			"nf_tables":      {Depends: []string{"libcrc32c"}},
			"left":           {Before: []string{"right"}},
			"right":          {Before: []string{"left"}},
			"broken":         {Depends: []string{"missing"}},
		},
		Builtin: map[string]bool{"unix": true},
	}
}

func TestModuleOrder(t *testing.T) {
	for _, tc := range []struct {
		names, want string
		err         string
	}{
		{"", "", ""},
		{"xhci-pci", "usb_common usbcore xhci_hcd xhci_pci", ""},
		{"usbcore xhci-pci usbcore", "usb_common usbcore xhci_hcd xhci_pci", ""},
		{"unix", "", ""},
		{"nf_tables", "crc32c_generic libcrc32c nf_tables", ""},
		{"left right", "right left", ""},
		{"broken", "", "broken: the kernel has no module missing"},
		{"no-such", "", "no module no_such"},
		{"crc32c", "", "no module crc32c"}, // an alias is no name
	} {
		got, err := tree().order(strings.Fields(tc.names))
		if tc.err == "" && (err != nil || strings.Join(got, " ") != tc.want) {
			t.Errorf("%q: %q, %v, want %q", tc.names, got, err, tc.want)
		}
		if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%q: error %v, want one with %q", tc.names, err, tc.err)
		}
	}
}

func TestBuiltin(t *testing.T) {
	tr := &moduleTree{}
	tr.addBuiltin("kernel/net/unix/unix.ko\nkernel/drivers/tty/serial/8250/8250-base.ko\n")
	if want := map[string]bool{"unix": true, "8250_base": true}; !reflect.DeepEqual(tr.Builtin, want) {
		t.Errorf("%v, want %v", tr.Builtin, want)
	}
}

// moduleFile makes the least ELF file that has a .modinfo: a header, the section, the names of sections, and three headers
// of sections.
func moduleFile(modinfo string) []byte {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	le := binary.LittleEndian
	b := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	b = le.AppendUint16(b, 1)  // relocatable
	b = le.AppendUint16(b, 62) // x86-64
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(le.AppendUint64(b, 0), 0)              // entry, program headers
	b = le.AppendUint64(b, uint64(64+len(modinfo)+len(names))) // section headers
	b = le.AppendUint32(b, 0)                                  // flags
	for _, v := range []uint16{64, 0, 0, 64, 3, 2} {           // sizes and numbers of headers, section with names
		b = le.AppendUint16(b, v)
	}
	b = append(b, modinfo+names...)
	section := func(name, kind uint32, at, size int) {
		b = le.AppendUint32(le.AppendUint32(b, name), kind)
		for _, v := range []int{0, 0, at, size, 0, 1, 0} { // flags, address, offset, size, link and info, alignment, entry
			b = le.AppendUint64(b, uint64(v))
		}
	}
	section(0, 0, 0, 0)
	section(1, 1, 64, len(modinfo))
	section(10, 3, 64+len(modinfo), len(names))
	return b
}

func TestAddModule(t *testing.T) {
	tr := &moduleTree{dir: t.TempDir(), Modules: make(map[string]moduleInfo)}
	file := moduleFile("depends=usbcore\x00name=xhci_pci\x00")
	if err := tr.add("xhci-pci.ko", file); err != nil {
		t.Fatal(err)
	}
	if want := (moduleInfo{Depends: []string{"usbcore"}}); !reflect.DeepEqual(tr.Modules["xhci_pci"], want) {
		t.Errorf("%+v, want %+v", tr.Modules, want)
	}
	if got, err := os.ReadFile(tr.path("xhci_pci")); err != nil || !bytes.Equal(got, file) {
		t.Errorf("the stored file differs: %v", err)
	}
	if err := tr.add("text.ko", []byte("no module")); err == nil {
		t.Error("what is no ELF file is no error")
	}
}
