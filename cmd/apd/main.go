// Command apd is the application processor: it holds the network profiles and their credentials, answers the AT commands
// of the communication processors on its lines, and makes the connections that they ask for.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"bipd/ap"
	"bipd/internal/config"
	"bipd/internal/control"
	"bipd/internal/daemon"
	"bipd/ptylink"
	"bipd/trace"
)

func main() {
	if err := command().Execute(); err != nil {
		daemon.Fail("apd", err)
	}
}

func command() *cobra.Command {
	var file string
	var check bool
	cmd := &cobra.Command{
		Use:   "apd",
		Short: "Hold the network and make connections for bipd",
		Long: `apd is the application processor of a two-processor terminal. It holds the
network profiles with their credentials, answers the AT commands of bipd on
serial lines, and makes the connections that bipd asks for on behalf of a UICC.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			c, err := config.LoadApd(file)
			if err != nil {
				return err
			}
			profiles, err := config.LoadProfiles(c.Profiles, c.Egress)
			if err != nil {
				return fmt.Errorf("network profiles: %w", err)
			}
			if check {
				fmt.Printf("%s: %d line(s)%s, no fault found\n", file, len(c.Lines), inDir(c.LinesDir))
				return nil
			}
			ctx, cancel := daemon.Context()
			defer cancel()
			log, flush := daemon.NewLog(os.Stderr, c.Log)
			defer flush()
			slog.SetDefault(log) // for what packages log by themselves
			return run(ctx, c, profiles, log)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "/etc/apd/apd.toml", "configuration file")
	cmd.Flags().BoolVar(&check, "check", false, "check the configuration and exit")
	return cmd
}

// run serves all lines until ctx ends.
func run(ctx context.Context, c *config.Apd, profiles *ap.Profiles, log *slog.Logger) error {
	daemon.IgnoreHangup(log)
	stream := &trace.Stream{Source: "apd"}
	policy, err := c.Egress.Policy()
	if err != nil {
		return err
	}
	processor := ap.New(ap.Config{Profiles: profiles, Policy: policy, DialTimeout: c.Proxy.ConnectTimeout.Duration,
		FinishTime: c.Proxy.FinishTime.Duration, Log: log, Trace: stream,
		Limits: ap.Limits{Commands: c.Limits.Commands, Connections: c.Limits.OpenChannel}})
	defer processor.Wait()
	var tasks []daemon.Task
	served := &lines{over: processor.Over}
	serve := func(l config.APLine) (ptylink.PeerConfig, error) {
		lineLog, err := served.add(l, log, c.Limits.LogLines)
		return l.Peer(lineLog), err
	}
	for _, l := range c.Lines {
		peer, err := serve(l)
		if err != nil {
			return err
		}
		tasks = append(tasks, daemon.Task{Name: "line " + l.Name, Run: func(ctx context.Context) error { return processor.ServeLine(ctx, peer) }})
	}
	if c.LinesDir != "" {
		place := ptylink.Dir{Path: c.LinesDir, Owner: c.LinesUID()}
		dir := ap.LineDir{Dir: place, Gone: served.remove, Peer: func(name string) (ptylink.PeerConfig, error) {
			return serve(config.APLine{Name: name, Path: filepath.Join(c.LinesDir, name)})
		}}
		tasks = append(tasks, daemon.Task{Name: "lines in " + c.LinesDir, Run: func(ctx context.Context) error { return processor.ServeDir(ctx, dir) }})
	}
	if c.Control.Socket != "" {
		tasks = append(tasks, daemon.Task{Name: "control", Last: true, Run: func(ctx context.Context) error {
			return control.Serve(ctx, c.Control.Socket, c.Control.GID(), served, stream)
		}})
	}
	log.Info("apd is ready", "lines", len(c.Lines), "directory", c.LinesDir)
	return daemon.RunTasks(ctx, tasks...)
}
