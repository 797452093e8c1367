package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestRunTasks(t *testing.T) {
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	running := Task{"running", wait}
	if err := RunTasks(ctx, running, Task{"bad", func(context.Context) error { return broken }}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "bad: ") {
		t.Errorf("a failed task: %v", err)
	}
	if err := RunTasks(ctx, running, Task{"short", func(context.Context) error { return nil }}); err == nil || !strings.Contains(err.Error(), "short: ended by itself") {
		t.Errorf("a task that ends: %v", err)
	}
	late := errors.New("late")
	closing := Task{"closing", func(ctx context.Context) error { <-ctx.Done(); return late }}
	cancel()
	if err := RunTasks(ctx, running, running); err != nil {
		t.Errorf("the end of the context: %v", err)
	}
	if err := RunTasks(ctx, running, closing); !errors.Is(err, late) {
		t.Errorf("an error while ending: %v", err)
	}
}
