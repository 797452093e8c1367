package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// --check accepts what the demonstration runs with, and names file, line and key of what it does not know.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	configs := demoConfigs(dir)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(program string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(daemons(t), program), "--check", "--config", filepath.Join(dir, program+".toml"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for name, text := range configs {
		write(name, text)
	}
	for _, program := range []string{"bipd", "apd"} {
		if out, err := check(program); err != nil || !strings.Contains(out, "no fault found") {
			t.Errorf("%s: %v: %s", program, err, out)
		}
	}
	write("bipd.toml", "[[card]]\nname = \"c\"\nreader = \"vpcd:unix:/x\"\n[card.line]\npath = \"/dev/ttyS0\"\nspeed = 9600\npayload_check = \"off\"\n")
	if out, err := check("bipd"); err != nil || !strings.Contains(out, "warning: card c: line.payload_check") {
		t.Errorf("a line without payload check: %v: %s", err, out)
	}
	write("bipd.toml", configs["bipd.toml"])
	for _, tc := range []struct{ program, file, add, key string }{
		{"bipd", "bipd.toml", "colour = 1\n", "terminal.colour"},
		{"apd", "apd.toml", "[proxy]\nshape = \"x\"\n", "proxy.shape"},
		{"apd", "profiles.toml", "pasword = \"also not to be seen\"\n", "profile.pasword"},
	} {
		text := configs[tc.file]
		write(tc.file, text+tc.add)
		line := strings.Count(text+tc.add, "\n")
		want := fmt.Sprintf("%s:%d: %s: unknown key", filepath.Join(dir, tc.file), line, tc.key)
		out, err := check(tc.program)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v: %s, want %q", tc.file, err, out, want)
		}
		if strings.Contains(out, "not to be seen") {
			t.Errorf("%s: a password is in the message: %s", tc.file, out)
		}
		write(tc.file, text)
	}
	if err := os.Chmod(filepath.Join(dir, "profiles.toml"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := check("apd"); err == nil || !strings.Contains(out, "profiles.toml") {
		t.Errorf("profiles that everybody may read: %v: %s", err, out)
	}
}
