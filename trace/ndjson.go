package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxLine bounds one line of NDJSON: an event with two extended APDUs of 64 KiB in hex is well below it.
const maxLine = 1 << 20

// Encode writes the event as one line of JSON (NDJSON), in a single Write.
func Encode(w io.Writer, e Event) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // for people who read the file
	if err := enc.Encode(e); err != nil {
		return fmt.Errorf("trace: encode event: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Decoder reads events from NDJSON, one a line. Empty lines are passed over, and so are fields that it does not know.
type Decoder struct {
	lines *bufio.Scanner
	line  int
}

// NewDecoder reads from r, no further ahead than the reader gives.
func NewDecoder(r io.Reader) *Decoder {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), maxLine)
	return &Decoder{lines: s}
}

// Decode gives the next event, and io.EOF after the last one. Any other error names the line; after one that comes
// from the line's content the next call goes on with the next line.
func (d *Decoder) Decode() (Event, error) {
	for d.lines.Scan() {
		d.line++
		text := bytes.TrimSpace(d.lines.Bytes())
		if len(text) == 0 {
			continue
		}
		var e Event
		if err := json.Unmarshal(text, &e); err != nil {
			return Event{}, fmt.Errorf("trace: line %d: %w", d.line, err)
		}
		if err := e.check(); err != nil {
			return Event{}, fmt.Errorf("trace: line %d: %w", d.line, err)
		}
		return e, nil
	}
	if err := d.lines.Err(); err != nil {
		return Event{}, fmt.Errorf("trace: line %d: %w", d.line+1, err)
	}
	return Event{}, io.EOF
}

// check says what no event of ours has.
func (e Event) check() error {
	switch {
	case e.From.rank() < 0:
		return fmt.Errorf("from: no party %q", e.From)
	case e.To.rank() < 0:
		return fmt.Errorf("to: no party %q", e.To)
	case e.Channel < 0 || e.Channel > 7: // ETSI TS 102 223 clause 8.7
		return fmt.Errorf("channel: %d is not 0 to 7", e.Channel)
	case e.Bytes < 0:
		return fmt.Errorf("bytes: %d is negative", e.Bytes)
	case e.Lost < 0:
		return fmt.Errorf("lost: %d is negative", e.Lost)
	case e.Time.IsZero():
		return errors.New("time: missing")
	}
	return nil
}

// DecodeAll reads all events. On an error it gives those before it too.
func DecodeAll(r io.Reader) ([]Event, error) {
	var events []Event
	for d := NewDecoder(r); ; {
		e, err := d.Decode()
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

// Merge puts the events of several sources, such as those of bipd and apd on one machine, on one time line. Events
// of the same time keep the order of the sources, and within a source their own.
func Merge(sources ...[]Event) []Event {
	all := slices.Concat(sources...)
	slices.SortStableFunc(all, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return all
}
