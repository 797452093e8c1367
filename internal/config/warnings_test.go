package config

import (
	"strings"
	"testing"
)

// TestWarnings: a serial line without payload check is told, a pseudo terminal is not.
func TestWarnings(t *testing.T) {
	for line, want := range map[string]bool{
		"path = \"/dev/ttyS0\"\nspeed = 115200\npayload_check = \"off\"\n": true,
		"path = \"/dev/ttyS0\"\nspeed = 115200\n":                          false,
		"path = \"/run/x\"\npayload_check = \"off\"\n":                     false,
	} {
		c, err := LoadBipd(write(t, "bipd.toml", card+"[card.line]\n"+line, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(c.Warnings(), "\n")
		if strings.Contains(got, `payload_check = "off"`) != want {
			t.Errorf("%s: %q", line, got)
		}
	}
}
