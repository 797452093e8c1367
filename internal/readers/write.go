package readers

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"bipd/internal/control"
)

// Write shows the readers for people, in lines of at most about 100 columns.
//
//	PC Twin Reader (Gemalto)
//	   port 1-1.2  USB 08e6:3437  release 2.01  serial -  12 Mbit/s
//	   TPDU level, T=0 T=1, 5V 3V 1.8V, messages to 271 octets
//	   slot 0  card, served as 1-1.2.0
//	      ATR 3B68...
//	      T=0, TA1=11 (Fi 372, Di 1), direct convention
//	      reader = "ccid:path=1-1.2"
func Write(w io.Writer, list []control.Reader) error {
	p := &page{w: w}
	if len(list) == 0 {
		p.line(0, "no reader was found: neither one at USB nor one of pcscd")
	}
	for i, r := range list {
		if i > 0 {
			p.line(0, "")
		}
		p.reader(r)
	}
	return p.err
}

// page keeps the first error of the writer.
type page struct {
	w   io.Writer
	err error
}

func (p *page) line(depth int, format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(strings.Repeat("   ", depth)+fmt.Sprintf(format, args...), " "))
	}
}

func (p *page) reader(r control.Reader) {
	name := clean(r.Name)
	if name == "" {
		name = "(a reader without a name)"
	}
	if r.Manufacturer != "" && !strings.Contains(r.Name, r.Manufacturer) {
		name += " (" + clean(r.Manufacturer) + ")"
	}
	p.line(0, "%s", name)
	if r.Driver == driverPCSC {
		p.line(1, "through pcscd")
	} else {
		p.line(1, "port %s  USB %s  release %s  serial %s  %s Mbit/s", r.Path, r.ID, r.Release, orDash(clean(r.Serial)), orDash(r.Speed))
		if r.Level != "" {
			p.line(1, "%s level, %s, %s, messages to %d octets", r.Level, strings.Join(r.Protocols, " "), r.Voltages, r.MaxMessage)
		}
	}
	if r.Problem != "" {
		p.line(1, "PROBLEM: %s", clean(r.Problem))
	}
	p.wrapped(1, r.Hint)
	for _, s := range r.Slots {
		p.slot(r, s)
	}
}

func (p *page) slot(r control.Reader, s control.ReaderSlot) {
	state := s.State
	if s.ServedAs != "" {
		state += ", served as " + s.ServedAs
	}
	if r.Driver == driverPCSC {
		p.line(1, "%s", state)
	} else {
		p.line(1, "slot %d  %s", s.Number, state)
	}
	if s.ATR != "" {
		p.line(2, "ATR %s", s.ATR)
	}
	if s.Card != nil {
		for _, l := range describeATR(s.Card) {
			p.line(2, "%s", l)
		}
	}
	if s.Problem != "" {
		p.line(2, "no ATR: %s", clean(s.Problem))
	}
	p.line(2, "%s", clean(s.Config))
}

// width is where lines of prose are broken.
const width = 96

func (p *page) wrapped(depth int, text string) {
	var line string
	for _, word := range strings.Fields(clean(text)) {
		if line != "" && len(line)+1+len(word) > width-3*depth {
			p.line(depth, "%s", line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		p.line(depth, "%s", line)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// clean keeps what a device says of itself from steering the operator's terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
