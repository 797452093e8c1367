package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bipd/internal/capture"
	"bipd/internal/control"
	"bipd/trace"
)

const defaultSocket = "/run/bipd/bipd.sock"

// askTime bounds a question to a daemon, which may be slow to answer on a machine under load.
const askTime = 20 * time.Second

func socketFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("socket", "s", defaultSocket, "control socket of the daemon")
}

func cardsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cards", Short: "List the cards with their readers, states and lines", Args: cobra.NoArgs,
		Long: `cards lists the cards of bipd, or the lines of apd. SERVICE is what the card hears of
the network: normal, limited or none. OVER LIMIT counts what was refused, delayed or
left out because of [limits] in the configuration.`,
	}
	socket := socketFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), askTime)
		defer cancel()
		cards, err := control.NewClient(*socket).Cards(ctx)
		if err != nil {
			return err
		}
		if len(cards) == 0 {
			fmt.Println("no cards: no reader is there, or none can be used; see bipctl readers")
			return nil
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "CARD\tSTATE\tREADER\tLINE\tSERVICE\tATR\tOVER LIMIT\tLAST ERROR")
		for _, c := range cards {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.State, c.Reader, c.Line, c.Service, c.ATR, overText(c.Over), c.Error)
		}
		return w.Flush()
	}
	return cmd
}

// overText says what was beyond the limits.
func overText(o control.Over) string {
	var list []string
	for _, v := range []struct {
		n    int64
		what string
	}{{o.OpenChannel, "OPEN CHANNEL"}, {o.ShortMessages, "short messages"}, {o.Resets, "resets"}, {o.LogLines, "log lines"},
		{o.ATCommands, "AT commands"}, {o.DLCs, "DLCs"}} {
		if v.n > 0 {
			list = append(list, fmt.Sprint(v.n, " ", v.what))
		}
	}
	if list == nil {
		return "-"
	}
	return strings.Join(list, ", ")
}

func channelsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "channels", Short: "List the open BIP channels", Args: cobra.NoArgs}
	socket := socketFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), askTime)
		defer cancel()
		channels, err := control.NewClient(*socket).Channels(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "CARD\tCHANNEL\tMETHOD\tSTATE\tREMOTE\tBUFFER\tRECEIVED\tSENT")
		for _, c := range channels {
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s %s\t%d\t%d\t%d\n", c.Card, c.Channel, c.Method, c.State, c.Network, c.Remote, c.Buffer, c.Received, c.Sent)
		}
		return w.Flush()
	}
	return cmd
}

func traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show what happens, live, as one JSON object a line or as a ladder",
		Long: `trace shows the events of one or more daemons until it is interrupted: APDUs, AT
commands, network data and the named steps of both methods. With --ladder the
events are kept until then and shown as a message sequence chart. With --pcapng
the APDUs, and the network side of the channels as they tell it, are written live
as a capture for Wireshark: bipctl trace --pcapng - | wireshark -k -i -

A trace that is read too slowly misses events: an event with "lost" stands in their
place and says how many; ladder, page and capture show it, too. Pages and captures
have the mode 0600. They replace a regular file, and nothing else.`,
		Args: cobra.NoArgs,
	}
	sockets := cmd.Flags().StringSliceP("socket", "s", []string{defaultSocket}, "control sockets of the daemons")
	ladder := cmd.Flags().Bool("ladder", false, "show a ladder at the end")
	html := cmd.Flags().String("html", "", "write the ladder as an HTML page to this file at the end")
	pcapng := cmd.Flags().String("pcapng", "", "write a capture for Wireshark to this file, live; - is standard output")
	cmd.MarkFlagsMutuallyExclusive("pcapng", "ladder")
	cmd.MarkFlagsMutuallyExclusive("pcapng", "html")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case *pcapng != "":
			return followCapture(cmd.Context(), *sockets, *pcapng)
		case !*ladder && *html == "":
			return follow(cmd.Context(), *sockets, func(e trace.Event) error { return trace.Encode(os.Stdout, e) })
		}
		if *html != "" { // not only at the end, when the events would be lost
			if err := checkPrivate(*html); err != nil {
				return err
			}
		}
		kept := kept{max: maxKept}
		err := follow(cmd.Context(), *sockets, kept.add)
		if events := kept.all(); err == nil || len(events) > 0 { // also those of a daemon that was killed
			err = errors.Join(err, writeLadders(stdout(), trace.Merge(events), *ladder, *html))
		}
		return err
	}
	return cmd
}

// maxKept bounds the events that are kept for a ladder.
const maxKept = 1 << 20

// kept are the events of a ladder. Raw APDUs are left out: the commands that they carry have arrows of their own.
type kept struct {
	max    int
	events []trace.Event
	lost   int // past max
	last   trace.Event
}

func (k *kept) add(e trace.Event) error {
	switch {
	case e.APDU != "":
	case len(k.events) < k.max:
		k.events = append(k.events, e)
	default:
		k.lost += max(e.Lost, 1)
		k.last = e
	}
	return nil
}

// all are the events, with one that says how many more there were.
func (k *kept) all() []trace.Event {
	if k.lost == 0 {
		return k.events
	}
	e := trace.LostEvent(k.last.Source, k.lost, "no more are kept for a ladder")
	e.Time = k.last.Time
	return append(k.events, e)
}

// follow calls f with each event of the daemons, one at a time, until ctx ends or f fails.
func follow(ctx context.Context, sockets []string, f func(trace.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var failed error
	errs := make(chan error, len(sockets))
	for _, s := range sockets {
		go func() {
			err := control.NewClient(s).Events(ctx, func() {}, func(e trace.Event) {
				mu.Lock()
				defer mu.Unlock()
				if failed != nil {
					return
				}
				if failed = f(e); failed != nil {
					cancel()
				}
			})
			if err != nil {
				err = fmt.Errorf("%s: %w", s, err)
			}
			errs <- err
		}()
	}
	var first error
	for range sockets {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	if failed != nil {
		return failed
	}
	return first
}

// followCapture writes a capture until ctx ends.
func followCapture(ctx context.Context, sockets []string, path string) error {
	f := os.Stdout
	if path != "-" {
		var err error
		if f, err = createPrivate(path); err != nil {
			return err
		}
	}
	w, err := capture.NewWriter(f)
	if err == nil {
		err = follow(ctx, sockets, w.Event)
	}
	return errors.Join(err, f.Close())
}

// steps leaves out the raw APDUs: in a ladder the commands that they carry have arrows of their own.
func steps(events []trace.Event) []trace.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e trace.Event) bool { return e.APDU != "" })
}

func writeLadders(s screen, events []trace.Event, text bool, html string) error {
	if text {
		if err := trace.WriteLadder(s, events, trace.LadderOptions{Width: s.width}); err != nil {
			return err
		}
	}
	if html == "" {
		return nil
	}
	f, err := createPrivate(html)
	if err != nil {
		return err
	}
	if err := trace.WriteLadderHTML(f, events, "BIP"); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
