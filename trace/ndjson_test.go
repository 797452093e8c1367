package trace

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestNDJSON(t *testing.T) {
	at := time.Date(2025, 6, 1, 12, 0, 0, 123456789, time.UTC)
	events := []Event{
		{Time: at, Source: "bipd", Card: "card0", Channel: 1, Step: "S401", From: UICC, To: CP, What: "FETCH: OPEN CHANNEL",
			APDU: "8012000020", RAPDU: "D01E9000"},
		{Time: at, Source: "apd", From: AP, To: Server, What: "<TCP & \n data>", Bytes: 1400, Err: "reset"},
	}
	const golden = `{"time":"2025-06-01T12:00:00.123456789Z","source":"bipd","card":"card0","channel":1,"step":"S401",` +
		`"from":"UICC","to":"CP","what":"FETCH: OPEN CHANNEL","apdu":"8012000020","rapdu":"D01E9000"}
{"time":"2025-06-01T12:00:00.123456789Z","source":"apd","from":"AP","to":"server","what":"<TCP & \n data>","bytes":1400,"err":"reset"}
`
	var b bytes.Buffer
	for _, e := range events {
		if err := Encode(&b, e); err != nil {
			t.Fatal(err)
		}
	}
	if b.String() != golden {
		t.Errorf("encoded\n%s\nwant\n%s", b.String(), golden)
	}
	got, err := DecodeAll(strings.NewReader("\n" + strings.TrimSpace(golden) + "  "))
	if err != nil || !reflect.DeepEqual(got, events) {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestDecodeBadInput(t *testing.T) {
	const good = `{"time":"2025-06-01T12:00:00Z","from":"CP","to":"AP"}` + "\n"
	for _, tc := range []struct{ name, line, want string }{
		{"no JSON", "hello", "line 2"},
		{"cut off", `{"time":"2025-06-01T12:00:00Z","fro`, "unexpected end"},
		{"two in a line", strings.TrimSpace(good) + strings.TrimSpace(good), "after top-level value"},
		{"no party", `{"time":"2025-06-01T12:00:00Z","from":"CP","to":"moon"}`, `to: no party "moon"`},
		{"party missing", `{"time":"2025-06-01T12:00:00Z","to":"CP"}`, `from: no party ""`},
		{"channel", `{"time":"2025-06-01T12:00:00Z","from":"CP","to":"AP","channel":8}`, "8 is not 0 to 7"},
		{"bytes", `{"time":"2025-06-01T12:00:00Z","from":"CP","to":"AP","bytes":-1}`, "negative"},
		{"no time", `{"from":"CP","to":"AP"}`, "time: missing"},
		{"too long", `{"what":"` + strings.Repeat("x", maxLine) + `"}`, "line 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			events, err := DecodeAll(strings.NewReader(good + tc.line + "\n" + good))
			if err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			if len(events) != 1 {
				t.Errorf("%d events before the bad line", len(events))
			}
		})
	}
	d := NewDecoder(strings.NewReader("bad\n" + good))
	if _, err := d.Decode(); err == nil {
		t.Error("no error")
	}
	if e, err := d.Decode(); err != nil || e.From != CP {
		t.Errorf("after a bad line: %+v, %v", e, err)
	}
	if _, err := d.Decode(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	broken := errors.New("broken pipe")
	if _, err := NewDecoder(io.MultiReader(strings.NewReader(good[:10]), errReader{broken})).Decode(); err == nil {
		t.Error("a read error is lost")
	}
	if err := Encode(errWriter{broken}, Event{}); !errors.Is(err, broken) {
		t.Errorf("a write error gave %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

type errWriter struct{ err error }

func (w errWriter) Write([]byte) (int, error) { return 0, w.err }

func TestMerge(t *testing.T) {
	at := func(ms int, what string) Event { return Event{Time: time.UnixMilli(int64(ms)), What: what} }
	bipd := []Event{at(1, "a"), at(5, "d"), at(5, "e"), at(9, "g")}
	apd := []Event{at(2, "b"), at(3, "c"), at(5, "f")}
	var got strings.Builder
	for _, e := range Merge(bipd, apd, nil) {
		got.WriteString(e.What)
	}
	if got.String() != "abcdefg" || bipd[1].What != "d" || apd[0].What != "b" {
		t.Errorf("merged to %s", got.String())
	}
	if len(Merge()) != 0 {
		t.Error("events from nowhere")
	}
}

// Whatever is decoded is encoded to a line that decodes to the same events.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"time":"2025-06-01T12:00:00.5+02:00","source":"bipd","from":"CP","to":"AP","what":"x","bytes":3}` + "\n"))
	f.Add([]byte("\n\n{}\n[1]\nnull\n"))
	f.Add([]byte(`{"time":"2025-06-01T12:00:00Z","FROM":"UICC","to":"CP","what":"\ud800<\u0000"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, _ := DecodeAll(bytes.NewReader(data))
		var b bytes.Buffer
		for _, e := range events {
			if err := Encode(&b, e); err != nil {
				t.Fatalf("decoded but cannot be encoded: %v", err)
			}
		}
		if n := bytes.Count(b.Bytes(), []byte("\n")); n != len(events) {
			t.Fatalf("%d events in %d lines", len(events), n)
		}
		again, err := DecodeAll(&b)
		if err != nil || len(again) != len(events) {
			t.Fatalf("%d events, again %d, %v", len(events), len(again), err)
		}
		for i := range events {
			if !again[i].Time.Equal(events[i].Time) {
				t.Fatalf("time %v became %v", events[i].Time, again[i].Time)
			}
			again[i].Time = events[i].Time
			if again[i] != events[i] {
				t.Fatalf("%+v became %+v", events[i], again[i])
			}
		}
	})
}
