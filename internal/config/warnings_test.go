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

// A PIN for the cards of every slot is warned of, unless it is bound to one card.
func TestWarningsPIN(t *testing.T) {
	pin := "pin_file = \"" + write(t, "pin", "1234\n", 0o600) + "\"\n"
	const every, iccid = "[[card]]\nname = \"*\"\nreader = \"ccid:*\"\n", "pin_iccid = \"8944500102198304826\"\n"
	for text, want := range map[string]bool{every + pin: true, every + pin + iccid: false, every: false, card + pin: false} {
		c, err := LoadBipd(write(t, "bipd.toml", text, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.Warnings(), "\n"); strings.Contains(got, "pin_iccid") != want {
			t.Errorf("%s: %q", text, got)
		}
	}
	for text, want := range map[string]string{card + iccid: "there is no pin_file", card + pin + "pin_iccid = \"89x\"\n": "18 to 20 digits"} {
		if _, err := LoadBipd(write(t, "bipd.toml", text, 0o600)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
