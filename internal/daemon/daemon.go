// Package daemon is what the life of bipd and apd has in common: the log, the signals, and a group of tasks that ends as one.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Context ends with SIGINT or SIGTERM; a second one has its default action, which ends the process at once, whatever the
// end of the first still waits for. SIGPIPE is ignored, for a daemon outlives the reader of its log.
func Context() (context.Context, context.CancelFunc) {
	// Not signal.Ignore, which the programs that a daemon starts would inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel)
	return ctx, cancel
}

// Fail says on standard error why the daemon ends, and ends it with exit status 1. It waits for a reader of standard
// error that takes nothing for a second at most.
func Fail(name string, err error) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}()
	select {
	case <-said:
	case <-time.After(flushTime):
	}
	os.Exit(1)
}

// Task is one part of a daemon. Run returns when ctx ends; whatever it returns before ends the daemon.
type Task struct {
	Name string
	Run  func(ctx context.Context) error
	Last bool // the ctx of Run ends when the other tasks have ended: who looks on sees how they do
}

// RunTasks runs all tasks until ctx ends, which is no error, or until one of them does. It returns when all have ended.
func RunTasks(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	last, endLast := context.WithCancel(context.WithoutCancel(ctx))
	defer endLast()
	var others, lasts sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	run := func(ctx context.Context, t Task) {
		err := t.Run(ctx)
		if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
			return // it was told to end, and why another one has ended is told there
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		mu.Lock()
		errs = append(errs, fmt.Errorf("%s: %w", t.Name, err))
		mu.Unlock()
		cancel(err)
	}
	for _, t := range tasks {
		if t.Last {
			lasts.Go(func() { run(last, t) })
		} else {
			others.Go(func() { run(ctx, t) })
		}
	}
	others.Wait()
	endLast()
	lasts.Wait()
	return errors.Join(errs...)
}
