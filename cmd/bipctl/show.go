package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bipd/internal/control"
	"bipd/trace"
)

const defaultSocket = "/run/bipd/bipd.sock"

// askTime bounds a question to a daemon.
const askTime = 5 * time.Second

func socketFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("socket", "s", defaultSocket, "control socket of the daemon")
}

func cardsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cards", Short: "List the cards with their readers, states and lines", Args: cobra.NoArgs}
	socket := socketFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), askTime)
		defer cancel()
		cards, err := control.NewClient(*socket).Cards(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "CARD\tSTATE\tREADER\tLINE\tATR\tLAST ERROR")
		for _, c := range cards {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.State, c.Reader, c.Line, c.ATR, c.Error)
		}
		return w.Flush()
	}
	return cmd
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
events are kept until then and shown as a message sequence chart.`,
		Args: cobra.NoArgs,
	}
	sockets := cmd.Flags().StringSliceP("socket", "s", []string{defaultSocket}, "control sockets of the daemons")
	ladder := cmd.Flags().Bool("ladder", false, "show a ladder at the end")
	html := cmd.Flags().String("html", "", "write the ladder as an HTML page to this file at the end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		keep := *ladder || *html != ""
		events, err := follow(cmd.Context(), *sockets, keep)
		if err != nil || !keep {
			return err
		}
		return writeLadders(stdout(), steps(events), *ladder, *html)
	}
	return cmd
}

// maxKept bounds the events that are kept for a ladder.
const maxKept = 1 << 20

// follow prints or keeps the events of the daemons until ctx ends.
func follow(ctx context.Context, sockets []string, keep bool) ([]trace.Event, error) {
	var mu sync.Mutex
	var events []trace.Event
	errs := make(chan error, len(sockets))
	for _, s := range sockets {
		go func() {
			err := control.NewClient(s).Events(ctx, func() {}, func(e trace.Event) {
				mu.Lock()
				defer mu.Unlock()
				if !keep {
					trace.Encode(os.Stdout, e)
				} else if len(events) < maxKept {
					events = append(events, e)
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
	return trace.Merge(events), first
}

// steps leaves out the raw APDUs: in a ladder the commands that they carry have arrows of their own.
func steps(events []trace.Event) []trace.Event {
	var kept []trace.Event
	for _, e := range events {
		if e.APDU == "" {
			kept = append(kept, e)
		}
	}
	return kept
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
	f, err := os.Create(html)
	if err != nil {
		return err
	}
	if err := trace.WriteLadderHTML(f, events, "BIP"); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
