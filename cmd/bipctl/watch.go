package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"bipd/internal/control"
	"bipd/trace"
)

func watchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "watch", Short: "Show what happens, live, one line an event", Args: cobra.NoArgs,
		Long: `watch shows the events of one or more daemons until it is interrupted: when, which
card, who to whom, and what, with the texts that cards want shown. Raw APDUs are
left out unless --apdu is given.`,
	}
	sockets := cmd.Flags().StringSliceP("socket", "s", []string{defaultSocket}, "control sockets of the daemons")
	apdus := cmd.Flags().Bool("apdu", false, "show raw APDUs too")
	only := cmd.Flags().String("card", "", "this card only")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return watch(cmd.Context(), os.Stdout, *sockets, func(e trace.Event) bool {
			return e.Lost > 0 || (*apdus || e.APDU == "") && (*only == "" || e.Card == *only)
		})
	}
	return cmd
}

// watch writes a line for each event that is wanted, until ctx or a daemon ends.
func watch(ctx context.Context, w io.Writer, sockets []string, wanted func(trace.Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var running sync.WaitGroup
	errs := make([]error, len(sockets))
	for i, s := range sockets {
		running.Go(func() {
			c := control.NewClient(s)
			defer c.Close()
			out := bufio.NewWriter(w)
			err := c.Events(ctx, func() {}, func(e trace.Event) {
				mu.Lock()
				defer mu.Unlock()
				if wanted(e) {
					fmt.Fprintln(out, eventLine(e))
					out.Flush()
				}
			})
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", s, err)
				cancel() // a daemon that is not there: say so, rather than show half of it
			}
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// eventLine is an event for a person.
func eventLine(e trace.Event) string {
	line := fmt.Sprintf("%s  %-8s %-6s -> %-6s  ", e.Time.Local().Format("15:04:05.000"), printable(e.Card), e.From, e.To)
	if e.Step != "" {
		line += e.Step + " "
	}
	if e.Channel > 0 {
		line += fmt.Sprintf("[channel %d] ", e.Channel)
	}
	line += printable(e.What)
	if e.APDU != "" {
		line += " " + e.APDU + " -> " + e.RAPDU
	}
	if e.Bytes > 0 {
		line += fmt.Sprintf(" (%d bytes)", e.Bytes)
	}
	if e.Err != "" {
		line += ": " + printable(e.Err)
	}
	return line
}
