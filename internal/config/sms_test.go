package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSMS(t *testing.T) {
	dir := t.TempDir()
	program, plain := filepath.Join(dir, "hook"), filepath.Join(dir, "plain")
	for file, mode := range map[string]os.FileMode{program: 0o700, plain: 0o600} {
		if err := os.WriteFile(file, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct{ text, want string }{
		"spool":              {"spool = \"" + dir + "\"", ""},
		"hook":               {"hook = \"" + program + "\"\nhook_timeout = \"5s\"", ""},
		"neither":            {"", ""},
		"both":               {"spool = \"" + dir + "\"\nhook = \"" + program + "\"", "both given"},
		"no directory":       {"spool = \"/does/not/exist\"", "sms.spool: stat /does/not/exist"},
		"spool is a file":    {"spool = \"" + plain + "\"", "is no directory"},
		"no hook":            {"hook = \"/does/not/exist\"", "sms.hook: stat /does/not/exist"},
		"hook by its name":   {"hook = \"sendsms\"", "no absolute path"},
		"hook is no program": {"hook = \"" + plain + "\"", "is no program"},
		"hook is a folder":   {"hook = \"" + dir + "\"", "is no program"},
		"no time":            {"hook_timeout = \"0s\"", "hook_timeout: 0s"},
		"unknown key":        {"pool = \"x\"", "sms.pool: unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := LoadBipd(write(t, "bipd.toml", card+"[sms]\n"+tc.text+"\n", 0o644))
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				want := 30 * time.Second
				if strings.Contains(tc.text, "5s") {
					want = 5 * time.Second
				}
				if c.SMS.Timeout() != want {
					t.Errorf("timeout %v", c.SMS.Timeout())
				}
			} else if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
}

// TestOperatorKeys reads what is off unless it is asked for.
func TestOperatorKeys(t *testing.T) {
	c, err := LoadBipd(write(t, "bipd.toml", card, 0o644))
	if err != nil || c.Control.AllowAPDU || c.Terminal.DisplayText || c.SMS.Spool != "" || c.SMS.Hook != "" {
		t.Errorf("%+v %v", c, err)
	}
	example, err := LoadBipd("../../examples/bipd.toml")
	if err != nil || example.SMS != c.SMS || example.Control != c.Control {
		t.Errorf("the example does not show the defaults: %+v, %v", example, err)
	}
	c, err = LoadBipd(write(t, "bipd.toml", "[control]\nallow_apdu = true\n[terminal]\ndisplay_text = true\n"+card, 0o644))
	if err != nil || !c.Control.AllowAPDU || !c.Terminal.DisplayText || c.Control.Socket == "" {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := LoadApd(write(t, "apd.toml", "profiles = \"/x\"\n[control]\nallow_apdu = true\n[[line]]\nname=\"c\"\npath=\"/y\"\n", 0o644)); err == nil {
		t.Error("apd has no cards, but was allowed to send them APDUs")
	}
}
