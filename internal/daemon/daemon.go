// Package daemon is what the life of bipd and apd has in common: the log, the signals, and a group of tasks that ends as one.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"sync"
	"syscall"

	"bipd/internal/config"
)

// Logger makes the log that the configuration asks for.
func Logger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // checked at load
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Context ends with SIGINT or SIGTERM.
func Context() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
}

// Task is one part of a daemon. Run returns when ctx ends; whatever it returns before ends the daemon.
type Task struct {
	Name string
	Run  func(ctx context.Context) error
}

// RunTasks runs all tasks until ctx ends, which is no error, or until one of them does. It returns when all have ended.
func RunTasks(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, t := range tasks {
		wg.Go(func() {
			err := t.Run(ctx)
			if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
				return
			}
			if err == nil {
				err = errors.New("ended by itself")
			}
			mu.Lock()
			errs = append(errs, fmt.Errorf("%s: %w", t.Name, err))
			mu.Unlock()
			cancel(err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
