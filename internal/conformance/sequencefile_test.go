package conformance

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// sequence is one chain of proactive commands with what is to happen around them.
type sequence struct {
	ID, Title, Clause string
	Steps             []step
}

type step struct {
	N        int
	Dir      string // card->me, me->card, net, me->user
	What     string
	Hex      string
	SW       bool
	Template bool
}

func loadSequences(t *testing.T) []sequence {
	t.Helper()
	var file struct{ Sequences []sequence }
	if err := json.Unmarshal(vectorFile(t, "bip_sequences.json"), &file); err != nil {
		t.Fatal(err)
	}
	return file.Sequences
}

// kind is what a step is by its bytes.
func (s step) kind() string {
	switch {
	case s.Dir == "net" || s.Dir == "me->user":
		return s.Dir
	case s.SW:
		return "status word"
	case s.Dir == "card->me":
		return "command"
	case strings.HasPrefix(s.Hex, "8012"):
		return "fetch"
	case strings.HasPrefix(s.Hex, "D"):
		return "envelope"
	}
	return "response"
}

// fill puts the values into the template and works out its lengths: {LEN} counts the octets of the value that follows,
// or, with no value behind it, of all that follows. A {LEN} at the very end is a value of its own.
func fill(template string, values map[string]string) (string, error) {
	parts := strings.Split(template, "{LEN}")
	done, err := substitute(parts[len(parts)-1], values)
	if err != nil {
		return "", err
	}
	for i := len(parts) - 2; i >= 0; i-- {
		behind := parts[i+1]
		count := len(done) / 2
		switch {
		case done == "":
			v, ok := values["LEN"]
			if !ok {
				return "", fmt.Errorf("no value for the {LEN} at the end of %s", template)
			}
			done = v
		case strings.HasPrefix(behind, "{"):
			name := behind[1:strings.Index(behind, "}")]
			count = len(values[name]) / 2
			fallthrough
		default:
			done = lengthOf(count) + done
		}
		head, err := substitute(parts[i], values)
		if err != nil {
			return "", err
		}
		done = head + done
	}
	return done, nil
}

func lengthOf(n int) string {
	if n > 0x7F {
		return fmt.Sprintf("81%02X", n)
	}
	return fmt.Sprintf("%02X", n)
}

func substitute(s string, values map[string]string) (string, error) {
	for name, v := range values {
		s = strings.ReplaceAll(s, "{"+name+"}", v)
	}
	if strings.Contains(s, "{") {
		return "", fmt.Errorf("no value for %s", s)
	}
	return s, nil
}
