// Command bipd is the communication processor: it serves UICCs in card readers and opens the network connections that
// they ask for by the Bearer Independent Protocol.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"bipd/ccid/usbfs"
	"bipd/internal/config"
	"bipd/internal/control"
	"bipd/internal/daemon"
	"bipd/internal/readers"
	"bipd/internal/terminal"
	"bipd/trace"
)

func main() {
	if err := command().Execute(); err != nil {
		daemon.Fail("bipd", err)
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
				return showPlan(os.Stdout, file, c)
			}
			ctx, cancel := daemon.Context()
			defer cancel()
			log, flush := daemon.NewLog(os.Stderr, c.Log)
			defer flush()
			slog.SetDefault(log) // for what packages log by themselves
			return run(ctx, c, log)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "/etc/bipd/bipd.toml", "configuration file")
	cmd.Flags().BoolVar(&check, "check", false, "check the configuration, say which card would be served where, and exit")
	return cmd
}

// run serves all cards until ctx ends.
func run(ctx context.Context, c *config.Bipd, log *slog.Logger) error {
	daemon.IgnoreHangup(log)
	stream := &trace.Stream{Source: "bipd"}
	t, err := terminal.New(terminal.Config{File: c, Log: log, Trace: stream})
	if err != nil {
		return err
	}
	defer t.Close()
	tasks := []daemon.Task{{Name: "cards", Run: t.Run}}
	if c.Control.Socket != "" {
		tasks = append(tasks, daemon.Task{Name: "control", Last: true, Run: func(ctx context.Context) error {
			return control.Serve(ctx, c.Control.Socket, c.Control.GID(), t, stream)
		}})
	}
	for _, w := range c.Warnings() {
		log.Warn(w)
	}
	log.Info("bipd is ready", "cards", len(c.Cards))
	return daemon.RunTasks(ctx, tasks...)
}

// showPlan says which card would be served where.
func showPlan(w io.Writer, file string, c *config.Bipd) error {
	fmt.Fprintf(w, "%s: %d card(s), no fault found\n", file, len(c.Cards))
	for _, warning := range c.Warnings() {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	attached, err := readers.Scan(usbfs.FS{})
	if err != nil {
		return fmt.Errorf("USB readers: %w", err)
	}
	terminal.Describe(w, c.Cards, attached)
	return nil
}
