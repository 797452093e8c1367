package at

// Characters of V.250 6.2.1 to 6.2.3 at the start: S3 ends a line, S4 follows it in answers, S5 edits.
const (
	carriageReturn = '\r'
	lineFeed       = '\n'
	backspace      = '\b'
	del            = 0x7f
)

// editor cuts a stream into command lines and edits them as V.250 5.2.2 says: S5 takes the character before it away. So
// does DEL, which is what most terminals send. It holds one line of MaxLine octets at most. What the reads were makes no
// difference.
type editor struct {
	erase byte // S5
	buf   []byte
	over  bool   // the line is longer than MaxLine: its octets are discarded up to its end
	noise bool   // the line has octets that nobody types: it is not echoed, see show
	shown []byte // of the last call of feed: what an echo shows
}

// feed takes octets of p up to the end of a line. ok tells that a line is complete: it is returned without its end,
// valid until the next call, over telling that it was too long and is not complete. rest is what was not taken.
func (e *editor) feed(p []byte) (line []byte, over bool, rest []byte, ok bool) {
	e.shown = e.shown[:0]
	for i, b := range p {
		if b != carriageReturn {
			e.octet(b)
			continue
		}
		e.show("\r")
		line, over = e.buf, e.over
		e.buf, e.over, e.noise = e.buf[:0], false, false
		return line, over, p[i+1:], true
	}
	return nil, false, nil, false
}

// octet takes one octet of a line. Blanks and line feeds before its first character are nothing (V.250 5.2.1).
func (e *editor) octet(b byte) {
	switch {
	case (b == lineFeed || b == ' ') && len(e.buf) == 0 || e.over:
	case b == e.erase || b == del:
		e.rubOut()
	case len(e.buf) == MaxLine:
		e.over = true
	default:
		e.noise = e.noise || b < ' ' || b > '~'
		e.buf = append(e.buf, b)
		if len(e.buf) == 2 {
			e.show(string(e.buf))
		} else {
			e.show(string(b))
		}
	}
}

// rubOut takes the last character away, on the terminal too.
func (e *editor) rubOut() {
	if len(e.buf) == 0 {
		return
	}
	e.show("\b \b")
	if len(e.buf) == 2 {
		e.show("\b \b")
	}
	e.buf = e.buf[:len(e.buf)-1]
}

// show has s echoed if the line is a command so far: it begins with AT and has text alone. Anything else may be the frames
// of a multiplexer that has ended here, and its sender would take an echo for an answer.
func (e *editor) show(s string) {
	if !e.noise && !e.over && startsWithAT(e.buf) {
		e.shown = append(e.shown, s...)
	}
}
