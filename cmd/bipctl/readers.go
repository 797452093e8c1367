package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"bipd/ccid"
	"bipd/internal/control"
	"bipd/internal/readers"
)

// scanTime bounds a look at all readers: a card may need seconds to answer a reset at each of three voltages.
const scanTime = 30 * time.Second

func readersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "readers", Short: "List the card readers, their cards, and the line of the configuration for each", Args: cobra.NoArgs,
		Long: `readers lists the USB readers with their slots: whether a card is in, what its answer
to reset says, who holds the reader where it cannot be used, and what to do about
it. A running bipd that holds readers is asked; without one the readers are opened
for a look, which resets their cards. The readers of pcscd are listed where it runs.

The last line of each slot is the one for bipd.toml, to be copied:

  [[card]]
  name = "card0"
  reader = "ccid:path=1-1.2"

A reader keeps its path as long as it stays in its USB port. It can also be named by
ccid:id=08e6:3437, ccid:serial=... or ccid:name=..., and further slots of one reader
by ,slot=1 behind that. Without any [[card]] bipd serves every slot of every reader.`,
		Example: "  bipctl readers\n  bipctl readers --json",
	}
	socket := socketFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "write a JSON list")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := listReaders(cmd.Context(), *socket)
		if err != nil {
			return err
		}
		if *asJSON {
			enc := json.NewEncoder(os.Stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(list)
		}
		return readers.Write(os.Stdout, list)
	}
	return cmd
}

// listReaders asks bipd for the USB readers, or looks itself where it holds none, and pcscd for its own.
func listReaders(ctx context.Context, socket string) ([]control.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTime)
	defer cancel()
	list, err := askReaders(ctx, socket)
	if errors.Is(err, control.ErrNoReaders) {
		var infos []ccid.ReaderInfo
		if infos, err = ccid.ListReaders(ctx, ccid.Config{}); err == nil {
			list = readers.USB(infos)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("USB readers: %w", err)
	}
	more, err := readers.PCSC(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bipctl:", err) // the others are worth showing
	}
	return append(list, more...), nil
}

func askReaders(ctx context.Context, socket string) ([]control.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c := control.NewClient(socket)
	defer c.Close()
	return c.Readers(ctx)
}
