package rules

import (
	"strings"
	"testing"
	"testing/fstest"
)

// goFile is a formatted Go file with a package comment that imports the paths.
func goFile(imports ...string) string {
	var b strings.Builder
	b.WriteString("// Package x is one.\npackage x\n")
	for _, i := range imports {
		b.WriteString("\nimport _ \"" + i + "\"\n")
	}
	return b.String()
}

// Each rule finds its breach in a small repository, and says where and what it is.
func TestRulesFindBreaches(t *testing.T) {
	undone := "to" + "do"
	for _, tc := range []struct {
		name, path, text string
		want             string // part of the only fault; "" = no fault
	}{
		{"reader in cat", "cat/a.go", goFile("bipd/ccid"), "cat/a.go: imports ccid: cat may import only"},
		{"uicc in cat", "cat/a.go", goFile("bipd/uicc", "bipd/trace"), ""},
		{"line in bip", "bip/a.go", goFile("bipd/ptylink/mux"), "imports ptylink/mux: bip may import only"},
		{"cat in bip", "bip/a.go", goFile("bipd/cat", "net"), ""},
		{"softuicc in a test of bip", "bip/a_test.go", goFile("bipd/softuicc"), "no file has a package comment"},
		{"leaf in leaf", "tun/a.go", goFile("bipd/trace"), "imports trace: tun may import only []"},
		{"parts of the line", "ptylink/a.go", goFile("bipd/ptylink/at", "bipd/ptylink/mux"), ""},
		{"line in mux", "ptylink/mux/a.go", goFile("bipd/ptylink"), "must not know what is above it"},
		{"at in mux", "ptylink/mux/a.go", goFile("bipd/ptylink/at"), "must not know each other"},
		{"uicc in its reader", "uicc/pcsc/a.go", goFile("bipd/uicc"), ""},
		{"uicc in ccid", "ccid/a.go", goFile("bipd/uicc", "bipd/ccid/usbfs"), ""},
		{"bip in ap", "ap/a.go", goFile("bipd/bip"), "imports bip: ap may import only"},
		{"line in ap", "ap/a.go", goFile("bipd/ptylink/at", "bipd/egress", "bipd/trace"), ""},
		{"softuicc", "softuicc/a.go", goFile("bipd/cat", "bipd/uicc"), ""},
		{"bip in softuicc", "softuicc/a.go", goFile("bipd/bip"), "softuicc may import only"},
		{"glue", "cmd/bipd/a.go", goFile("bipd/bip", "bipd/tun", "bipd/internal/config"), ""},
		{"command in command", "cmd/bipctl/a.go", goFile("bipd/cmd/bipd"), "must not know each other"},
		{"command in internal", "internal/a/a.go", goFile("bipd/cmd/bipd"), "internal may import only"},
		{"internal in a part", "trace/a.go", goFile("bipd/internal/config"), "trace may import only []"},
		{"like a known name", "catalogue/a.go", goFile(), "no rule says what the folder catalogue may import"},
		{"like an allowed name", "cat/a.go", goFile("bipd/uiccx"), "imports uiccx"},
		{"net in cat", "cat/a.go", goFile("net"), "imports net: cat knows no network"},
		{"testkit in code", "internal/a/a.go", goFile("bipd/internal/testkit"), "imports internal/testkit: only tests may import it"},
		{"gVisor elsewhere", "internal/a/a.go", goFile("gvisor.dev/gvisor/pkg/tcpip"), "gVisor belongs into tun alone"},
		{"gVisor in tun", "tun/a.go", goFile("gvisor.dev/gvisor/pkg/tcpip"), ""},
		{"TOML elsewhere", "egress/a.go", goFile("github.com/pelletier/go-toml/v2"), "TOML belongs into internal alone"},
		{"TOML in internal", "internal/config/a.go", goFile("github.com/pelletier/go-toml/v2"), ""},
		{"no package comment", "cat/a.go", "package cat\n", "cat: no file has a package comment"},
		{"not formatted", "cat/a.go", goFile() + "var  a int\n", "cat/a.go: gofmt would change it"},
		{"a neighbour", "Makefile", "all:\n\tls ../" + "shared\n", "Makefile:2: names a folder beside the repository"},
		{"undone in code", "cat/a.go", goFile() + "\n// " + strings.ToUpper(undone) + ": more\n", "cat/a.go:4: has the word"},
		{"undone in a script", "a.sh", "# " + strings.ToUpper(undone), "a.sh:1: has the word"},
		{"inside a word", "a.sh", "mktemp a." + strings.Repeat("X", 6), ""},
		{"built things", "bin/a.go", "no Go", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files, err := load(fstest.MapFS{tc.path: {Data: []byte(tc.text)}})
			if err != nil {
				t.Fatal(err)
			}
			var faults []string
			for _, r := range rules {
				faults = append(faults, r.check(files)...)
			}
			switch {
			case tc.want == "" && faults != nil:
				t.Errorf("faults %q, want none", faults)
			case tc.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], tc.want)):
				t.Errorf("faults %q, want one with %q", faults, tc.want)
			}
		})
	}
	if _, err := load(fstest.MapFS{"a.go": {Data: []byte("no Go")}}); err == nil {
		t.Error("a file that does not parse is no error")
	}
}
