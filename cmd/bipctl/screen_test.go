package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A line as wide as the terminal, or wider, cannot be written over.
func TestProgressFits(t *testing.T) {
	for width := 60; width <= 200; width++ {
		for _, n := range []int{0, 1, 4 << 20, 8 << 20, 9 << 20} { // also more than was announced
			p := newProgress(screen{width: width}, "  method 2 https", 8<<20)
			p.n, p.started = n, p.started.Add(-time.Second)
			line := p.String()
			if got := utf8.RuneCountInString(line); got >= width {
				t.Errorf("%d columns of %d: %q", got, width, line)
			}
			if n == 8<<20 && strings.Contains(line, ".]") || n == 0 && strings.Contains(line, "[#") {
				t.Errorf("%d octets: %q", n, line)
			}
		}
	}
}

func TestProgressLive(t *testing.T) {
	for _, tc := range []struct {
		live bool
		want int // times that the line begins anew
	}{{true, 3}, {false, 0}} {
		var out bytes.Buffer
		p := newProgress(screen{Writer: &out, width: 80, live: tc.live}, "label", 300)
		for range 3 { // the second comes too early to be shown
			p.Write(make([]byte, 100))
			if p.n == 200 {
				p.shown = p.shown.Add(-time.Second)
			}
		}
		p.done()
		text := out.String()
		if got := strings.Count(text, "\r"); got != tc.want {
			t.Errorf("live %v: %d times from the left, want %d: %q", tc.live, got, tc.want, text)
		}
		last := text[strings.LastIndex(text, "label"):]
		if !strings.HasSuffix(last, "\n") || !strings.Contains(last, "300 of 300 bytes") {
			t.Errorf("live %v: the last line is %q", tc.live, last)
		}
	}
}
