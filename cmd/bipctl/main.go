// Command bipctl is the operator's command: it shows what bipd and apd do, acts on cards, and runs the demonstration.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"bipd/internal/netbed"
)

func main() {
	netbed.Enter() // the demonstration starts programs in network namespaces through this one
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bipctl:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:          "bipctl",
		Short:        "Show what bipd and apd do, act on cards, and run the demonstration",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(readersCommand(), cardsCommand(), channelsCommand(), traceCommand(), watchCommand(), menuCommand(), smsppCommand(), eventCommand(), apduCommand(),
		checkCommand(), demoCommand())
	return root
}
