// Command bench measures this program against plain peers on the same machine in the same run, and prints one line for
// each figure:
//
//	bench <name> <value> <unit> ratio=<ours/peer> peer=<what it was measured against> rounds=<n>
//
// Value and ratio are medians of alternating rounds: ours, peer, peer, ours and so on, so that a machine that becomes slower
// slows both. The units are us and ns (less is better), MB/s of 10^6 octets, APDU/s and % (more is better), bytes and kB
// (less is better). ccid.apdu is measured in a guest (see internal/guest). A figure whose peer could not run has ratio=- and
// the reason in its place, and so has one for which the machine has no guest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"bipd/internal/guest"
)

func main() {
	guest.InitIfFirst()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	only := flag.String("only", "", "measure the figures whose name begins so")
	rounds := flag.Int("rounds", 5, "rounds for each figure")
	span := flag.Duration("time", 200*time.Millisecond, "how long one measurement takes")
	inside := flag.String("inside", "", "in a guest: measure the APDUs of a reader through driver or pcscd")
	flag.Parse()
	if *inside != "" {
		if err := measureInside(ctx, os.Stdout, *inside, *span); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, os.Stdout, figures(), *only, settings{max(*rounds, 1), *span}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are how thoroughly to measure.
type settings struct {
	rounds int
	span   time.Duration // of one measurement
}

// measurement gives one value in the figure's unit, and takes about the span.
type measurement func(ctx context.Context, span time.Duration) (float64, error)

// figure is one thing that is measured.
type figure struct {
	name, unit string
	peer       string // what ours is measured against; with a nil measurement, why there is none
	rounds     int    // where it is not that of the settings
	prepare    func(ctx context.Context) (stand, error)
}

// stand is what a figure is measured on.
type stand struct {
	ours  measurement
	peer  measurement // nil: there is none
	close func()      // nil: there is nothing to close
}

// figures are all of them, in the order of printing.
func figures() []figure {
	return slices.Concat(bipFigures(), ccidFigures(), codecFigures(), muxFigures(), proxyFigures(), sizeFigures())
}

// run measures and prints the figures whose name begins with only. A figure that cannot be measured is an error, after the rest.
func run(ctx context.Context, w io.Writer, list []figure, only string, s settings) error {
	var failed []error
	any := false
	for _, f := range list {
		if !strings.HasPrefix(f.name, only) {
			continue
		}
		any = true
		line, err := f.measure(ctx, s)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", f.name, err))
		}
		fmt.Fprintln(w, line)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if !any {
		return fmt.Errorf("no figure's name begins with %q", only)
	}
	return errors.Join(failed...)
}

func (f figure) measure(ctx context.Context, s settings) (line string, err error) {
	if f.rounds > 0 {
		s.rounds = f.rounds
	}
	st, err := f.prepare(ctx)
	if missing := (*guest.MissingError)(nil); errors.As(err, &missing) {
		return f.line(nil, nil, err), nil // the figure is of use only where a guest is
	}
	if err != nil {
		return f.line(nil, nil, err), err
	}
	if st.close != nil {
		defer st.close()
	}
	var ours, peers []float64
	var peerErr error
	for round := range s.rounds {
		one := func() (err error) {
			v, err := st.ours(ctx, s.span)
			ours = append(ours, v)
			return err
		}
		other := func() error {
			if st.peer == nil || peerErr != nil {
				return nil
			}
			v, err := st.peer(ctx, s.span)
			peers, peerErr = append(peers, v), err
			return nil
		}
		order := []func() error{one, other}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, step := range order {
			if err := step(); err != nil {
				return f.line(nil, nil, err), err
			}
		}
	}
	return f.line(ours, peers, peerErr), nil
}

// line is the figure as it is printed. Where err is set the values it concerns are missing.
func (f figure) line(ours, peers []float64, err error) string {
	value, ratio, peer := "-", "-", f.peer
	if len(ours) > 0 {
		value = number(median(ours))
	}
	switch {
	case err != nil:
		peer = "failed: " + err.Error()
	case len(peers) > 0 && median(peers) != 0:
		ratio = fmt.Sprintf("%.3g", median(ours)/median(peers))
	}
	peer = strings.Join(strings.Fields(peer), "_") // one word, so that a line can be split at its spaces
	return fmt.Sprintf("bench %s %s %s ratio=%s peer=%s rounds=%d", f.name, value, f.unit, ratio, peer, len(ours))
}

// number prints without an exponent, with three digits where there are not more before the point.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
