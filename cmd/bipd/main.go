// Command bipd is the communication processor: it serves UICCs in card readers and opens the network connections that
// they ask for by the Bearer Independent Protocol.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"bipd/internal/config"
	"bipd/internal/control"
	"bipd/internal/cp"
	"bipd/internal/daemon"
	"bipd/trace"
)

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "bipd:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var file string
	var check bool
	cmd := &cobra.Command{
		Use:   "bipd",
		Short: "Serve UICCs and open the network connections they ask for (BIP)",
		Long: `bipd drives card readers, runs the card application toolkit session of each UICC,
and opens the network connections that the UICC asks for by the Bearer
Independent Protocol: through the host's TCP/IP stack (method 1), or over a
serial line to apd, whose stack makes the connection (method 2).`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			c, err := config.LoadBipd(file)
			if err != nil {
				return err
			}
			if check {
				fmt.Printf("%s: %d card(s), no fault found\n", file, len(c.Cards))
				return nil
			}
			ctx, cancel := daemon.Context()
			defer cancel()
			return run(ctx, c, daemon.Logger(os.Stderr, c.Log))
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "/etc/bipd/bipd.toml", "configuration file")
	cmd.Flags().BoolVar(&check, "check", false, "check the configuration and exit")
	return cmd
}

// run serves all cards until ctx ends.
func run(ctx context.Context, c *config.Bipd, log *slog.Logger) error {
	stream := &trace.Stream{Source: "bipd"}
	d := &terminal{}
	defer d.close()
	var tasks []daemon.Task
	for _, card := range c.Cards {
		unit, err := d.add(c, card, log, stream)
		if err != nil {
			return fmt.Errorf("card %s: %w", card.Name, err)
		}
		tasks = append(tasks, daemon.Task{Name: "card " + card.Name, Run: unit.Run})
	}
	if c.Control.Socket != "" {
		tasks = append(tasks, daemon.Task{Name: "control", Run: func(ctx context.Context) error {
			return control.Serve(ctx, c.Control.Socket, d, stream)
		}})
	}
	log.Info("bipd is ready", "cards", len(c.Cards))
	return daemon.RunTasks(ctx, tasks...)
}

// terminal is all cards that this bipd serves.
type terminal struct {
	units   []*cp.CP
	closers []func() error
}

func (d *terminal) close() {
	for _, f := range d.closers {
		f()
	}
}

// Cards is what bipctl shows of the cards.
func (d *terminal) Cards() []control.Card {
	var list []control.Card
	for _, u := range d.units {
		list = append(list, u.Status())
	}
	return list
}

// Channels is what bipctl shows of the channels.
func (d *terminal) Channels() []control.Channel {
	list := []control.Channel{}
	for _, u := range d.units {
		list = append(list, u.Channels()...)
	}
	return list
}
