package softuicc

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vectors finds a file of the byte vectors that lie beside the repository, or skips.
func vectors(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	path := filepath.Join(dir, "..", "shared", "vectors", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no vectors beside the repository: %v", err)
	}
	return path
}

// everything is a profile that offers all that the vectors use (clause 5.2), and not what they want refused.
const everything = "FF FF FF 7F FF 7F 00 07 88 00 00 1F E3 00 00 00 5F 40 00 00 00 01 00 00 00 00 00 00 00 01 00 00 01"

// TestConformanceSequences plays the terminal's part of the conformance sequences: the judge has nothing to say.
func TestConformanceSequences(t *testing.T) {
	b, err := os.ReadFile(vectors(t, "bip_sequences.json"))
	if err != nil {
		t.Fatal(err)
	}
	type step struct {
		Dir, Hex string
		SW       bool
	}
	var file struct {
		Sequences []struct {
			ID    string
			Steps []step
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, s := range file.Sequences {
		// Not here: sequences with bytes to be filled in, and those whose channels were opened before they begin.
		if slices.ContainsFunc(s.Steps, func(x step) bool { return strings.Contains(x.Hex, "{") }) ||
			s.ID == "ERR_NO_CHANNEL" || s.ID == "EVENT_DATA_AVAILABLE_2.1" {
			continue
		}
		t.Run(s.ID, func(t *testing.T) {
			var commands [][]byte
			for _, step := range s.Steps {
				if step.Dir == "card->me" && !step.SW && strings.HasPrefix(step.Hex, "D0") {
					commands = append(commands, unhex(t, step.Hex))
				}
			}
			played++
			c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
				for _, m := range commands {
					if _, err := tk.DoRaw(ctx, m); err != nil {
						return onlyReset(err)
					}
				}
				return nil
			}}})
			e := newTerminal(t, c)
			e.command(0x10, unhex(t, everything))
			for _, step := range s.Steps {
				switch {
				case step.Dir != "me->card":
				case strings.HasPrefix(step.Hex, "8012"):
					e.fetch()
				case strings.HasPrefix(step.Hex, "D"):
					e.envelope(step.Hex)
				case strings.HasPrefix(step.Hex, "81"):
					e.command(0x14, unhex(t, step.Hex))
				default:
					t.Errorf("step %s cannot be played", step.Hex)
				}
			}
			clean(t, c)
		})
	}
	if played == 0 {
		t.Error("no sequence could be played")
	}
}

// TestRecordedSessions has the judge read what a real terminal did with real cards. What it finds is known.
func TestRecordedSessions(t *testing.T) {
	known := map[string]map[string]int{ // part of a violation, and how often
		"card-a.jsonl": {},
		"card-b.jsonl": { // announced data dropped with the link, three times
			"is dropped before 255 octets or more in its Rx buffer were read": 3,
			"\"channel closed\" while announced data were unread":             3,
		},
	}
	for name, counts := range known {
		t.Run(name, func(t *testing.T) {
			for _, v := range replay(t, vectors(t, filepath.Join("sessions", name))) {
				expected := false
				for text := range counts {
					if strings.Contains(v.Text, text) && counts[text] > 0 {
						counts[text]--
						expected = true
						break
					}
				}
				if !expected {
					t.Errorf("violation: %v", v)
				}
			}
			for text, n := range counts {
				if n != 0 {
					t.Errorf("%q comes %d times less than it should", text, n)
				}
			}
		})
	}
}

// replay shows the judge a recorded session, line by line.
func replay(t *testing.T, path string) []Violation {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var j judge
	begin := func(profile []byte) {
		j.reset()
		j.profileArrived(nil, profile, false)
		for _, e := range []byte{0x03, 0x09, 0x0A, 0x12} { // the recording begins after the card's SET UP EVENT LIST
			j.events[e] = true
		}
	}
	begin(unhex(t, everything))
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l struct {
			Kind, CAPDU, RAPDU string
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		c, r := unhex(t, l.CAPDU), unhex(t, l.RAPDU)
		sw := uint16(r[len(r)-2])<<8 | uint16(r[len(r)-1])
		if sw>>8 == 0x91 {
			sw = 0x9100
		}
		switch l.Kind {
		case "terminal_profile":
			begin(unhex(t, everything))
		case "fetch":
			j.fetched(c, r[:len(r)-2], false)
		case "terminal_response":
			j.response(c, c[5:])
			j.answered(sw)
		case "envelope":
			if sw != swToolkitBusy {
				j.envelope(c, c[5:])
			}
			j.answered(sw)
		case "status":
			j.status(sw == swOK || sw == 0x9100)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return j.list
}
