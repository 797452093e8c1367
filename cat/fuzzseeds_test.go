package cat

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// addVectors seeds a fuzz target with the conformance vectors of a kind ("proactive", "terminal_response", "envelope")
// and with what two real cards and their terminals said of that kind, where these lie beside the repository.
func addVectors(f *testing.F, kind string) {
	f.Helper()
	if _, there := findVectors(f, "cat.jsonl"); !there {
		return
	}
	for _, v := range loadVectors(f) {
		if v.Kind == kind {
			f.Add(v.bytes(f))
		}
	}
	for _, name := range []string{"sessions/card-a.jsonl", "sessions/card-b.jsonl"} {
		for _, e := range loadRecorded(f, name) {
			switch command, response := unhex(f, e.CAPDU), unhex(f, e.RAPDU); {
			case e.Kind == "fetch" && kind == "proactive":
				f.Add(response[:len(response)-2])
			case e.Kind == kind:
				f.Add(command[5:])
			}
		}
	}
}

// recorded is one line of a recorded session.
type recorded struct{ Kind, CAPDU, RAPDU string }

func loadRecorded(t testing.TB, name string) []recorded {
	t.Helper()
	path, _ := findVectors(t, name)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var list []recorded
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e recorded
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("line %d: %v", len(list)+1, err)
		}
		list = append(list, e)
	}
	return list
}
