package cat

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// faulty are the commands of the conformance documents in which an error is right.
var faulty = map[string]string{
	"ofono/setup_menu_neg_1":         "its test is that a menu without items is refused (36)",
	"ofono/setup_menu_neg_2":         "its test is that an item without a value among others is refused (32)",
	"ofono/setup_menu_neg_3":         "as neg_2",
	"ofono/setup_menu_neg_4":         "as neg_2",
	"ofono/setup_idle_mode_text_241": "its test is that an icon without a text is refused (32)",
	"ofono/display_text_191":         "an icon without a text: as setup_idle_mode_text_241",
}

func TestLintVectors(t *testing.T) {
	linted := 0
	for _, v := range loadVectors(t) {
		if v.Kind != "proactive" {
			continue
		}
		linted++
		found := LintCommand(v.bytes(t), LintContext{})
		if _, wanted := faulty[v.ID]; Errors(found) != wanted {
			t.Errorf("%s: %v", v.ID, found)
		}
	}
	if linted < 600 {
		t.Errorf("%d commands", linted)
	}
}

// Real cards do nothing that is found wrong: neither in the octets, nor by the profile they got, nor by the channels they opened.
func TestLintSessions(t *testing.T) {
	for _, name := range []string{"sessions/card-a.jsonl", "sessions/card-b.jsonl"} {
		f, err := os.Open(vectorPath(t, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		ctx := LintContext{Tracked: true}
		var command []byte
		linted, opened := 0, 0
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var e struct {
				Seq                int
				Kind, CAPDU, RAPDU string
			}
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			capdu, rapdu := unhex(t, e.CAPDU), unhex(t, e.RAPDU)
			switch e.Kind {
			case "terminal_profile":
				ctx = LintContext{Tracked: true, Profile: capdu[5:]}
			case "fetch":
				command = rapdu[:len(rapdu)-2]
				linted++
				for _, f := range LintCommand(command, ctx) {
					t.Errorf("%s line %d: %v", name, e.Seq, f)
				}
			case "terminal_response":
				ctx.Learn(command, capdu[5:])
				if ctx.Channels[1].Open {
					opened++
				}
			}
		}
		if linted < 30 || opened < 10 {
			t.Errorf("%s: %d commands, channel 1 open after %d of them", name, linted, opened)
		}
	}
}
