package at

import "bytes"

// lineBuffer cuts a stream into lines, whatever the reads were. It holds one line of MaxLine octets at most.
type lineBuffer struct {
	ends string // octets that end a line
	buf  []byte
	over bool // the line is longer than MaxLine: its octets are discarded up to its end
}

// feed takes octets of p up to the end of a line. ok tells that a line is complete: it is returned without its end,
// valid until the next call, over telling that it was too long and is not complete. rest is what was not taken.
func (b *lineBuffer) feed(p []byte) (line []byte, over bool, rest []byte, ok bool) {
	end := bytes.IndexAny(p, b.ends)
	if end < 0 {
		b.add(p)
		return nil, false, nil, false
	}
	b.add(p[:end])
	line, over = b.buf, b.over
	b.buf, b.over = b.buf[:0], false
	return line, over, p[end+1:], true
}

func (b *lineBuffer) add(p []byte) {
	// LF after the CR of the line before (V.250 5.2.1) and any other line feeds at the start.
	for len(b.buf) == 0 && len(p) > 0 && p[0] == '\n' {
		p = p[1:]
	}
	if n := MaxLine - len(b.buf); len(p) > n {
		p, b.over = p[:n], true
	}
	b.buf = append(b.buf, p...)
}

// printable reports whether the line has only octets 20..7f: nothing else is text in a result code.
func printable[T string | []byte](line T) bool {
	for i := 0; i < len(line); i++ {
		if line[i] < 0x20 || line[i] > 0x7f {
			return false
		}
	}
	return true
}
