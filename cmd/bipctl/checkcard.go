package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"bipd/internal/check"
	"bipd/internal/config"
	"bipd/internal/cp"
)

// What makes the exit status of a check 1: a card or an applet that was found wrong, or none to look at.
var (
	errFault  = errors.New("the card or its applet is at fault")
	errNoCard = errors.New("no card was looked at")
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell whether a fault lies in the applet, the card or the terminal",
		Long: `check serves the card in a reader as bipd does, and shows the answer to reset, the
TERMINAL PROFILE bit by bit, each proactive command with its answer, and what in
the commands breaks the specification, with the clause. Without --network each
OPEN CHANNEL is answered that there is no network; with it connections are made,
as far as the default egress policy lets a card.

It ends after --time, when the card is taken out, or at an interrupt. The exit
status is 1 where the card or its applet is at fault, or no card was there. bipd
must not use the reader at the same time.`,
		Args: cobra.NoArgs,
	}
	name := cmd.Flags().String("reader", "", "ccid:<selector>, pcsc:<reader name>, vpcd:unix:<path> or vpcd:tcp:<address>: see bipctl readers")
	limit := cmd.Flags().Duration("time", time.Minute, "how long to look")
	network := cmd.Flags().Bool("network", false, "let the card open connections")
	pinFile := cmd.Flags().String("pin-file", "", "file with the PIN that only its owner may read")
	if err := cmd.MarkFlagRequired("reader"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := config.DefaultBipd()
		cfg := check.Config{Network: *network, LocalInfo: d.Terminal.LocalInfo()}
		var err error
		if cfg.ListenOn, err = d.Kernel.ListenOn(); err != nil {
			return err
		}
		if *pinFile != "" {
			pin, err := config.ReadSecretFile(*pinFile)
			if err != nil {
				return fmt.Errorf("pin-file: %w", err)
			}
			cfg.PIN = pin
		}
		r, closeReader, err := cp.OpenReader(*name, slog.New(slog.DiscardHandler))
		if err != nil {
			return fmt.Errorf("reader: %w", err)
		}
		defer closeReader()
		cfg.Reader = r
		ctx, cancel := context.WithTimeout(cmd.Context(), *limit)
		defer cancel()
		result, err := check.Run(ctx, cmd.OutOrStdout(), cfg)
		switch {
		case err != nil:
			return err
		case result.Failed():
			return errFault
		case result.Sessions == 0:
			return errNoCard
		}
		return nil
	}
	return cmd
}
