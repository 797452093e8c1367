package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// screen is where a person reads.
type screen struct {
	io.Writer
	width int  // columns
	live  bool // a terminal, on which a line can be written over
}

// stdout is standard output as a screen; where it is no terminal it is 100 columns wide.
func stdout() screen {
	ws, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	s := screen{Writer: os.Stdout, width: 100, live: err == nil}
	if err == nil && ws.Col > 0 {
		s.width = int(ws.Col)
	}
	return s
}

// progress is a bar that shows how far a download is. Where the screen is not live only its last state is shown.
type progress struct {
	screen   screen
	label    string
	total, n int
	started  time.Time
	shown    time.Time
}

func newProgress(s screen, label string, total int) *progress {
	return &progress{screen: s, label: label, total: total, started: time.Now()}
}

const (
	maxBar    = 40
	barPeriod = 100 * time.Millisecond
)

// Write counts.
func (p *progress) Write(b []byte) (int, error) {
	p.n += len(b)
	if p.screen.live && time.Since(p.shown) >= barPeriod {
		p.shown = time.Now()
		fmt.Fprintf(p.screen, "\r%v\x1b[K", p)
	}
	return len(b), nil
}

// String is one line that leaves the last column free: a longer one could not be written over. The bar takes what
// room the numbers leave.
func (p *progress) String() string {
	numbers := fmt.Sprintf("%d of %d bytes, %s", p.n, p.total, rate(p.n, time.Since(p.started)))
	width := min(p.screen.width-len(p.label)-len(numbers)-5, maxBar)
	if width < 1 {
		return p.label + " " + numbers
	}
	filled := width * min(p.n, p.total) / p.total
	return fmt.Sprintf("%s [%s%s] %s", p.label, strings.Repeat("#", filled), strings.Repeat(".", width-filled), numbers)
}

// done shows the last state, and leaves it.
func (p *progress) done() {
	if p.screen.live {
		fmt.Fprint(p.screen, "\r\x1b[K")
	}
	fmt.Fprintln(p.screen, p)
}

func rate(bytes int, d time.Duration) string {
	return fmt.Sprintf("%.1f kB/s", float64(bytes)/1000/max(d.Seconds(), 1e-6))
}
