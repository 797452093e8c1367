package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestRunTasks(t *testing.T) {
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	running := Task{Name: "running", Run: wait}
	if err := RunTasks(ctx, running, Task{Name: "bad", Run: func(context.Context) error { return broken }}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "bad: ") {
		t.Errorf("a failed task: %v", err)
	}
	if err := RunTasks(ctx, running, Task{Name: "short", Run: func(context.Context) error { return nil }}); err == nil || !strings.Contains(err.Error(), "short: ended by itself") {
		t.Errorf("a task that ends: %v", err)
	}
	why := Task{Name: "why", Run: func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("a card: %w", context.Cause(ctx)) }}
	if err := RunTasks(ctx, why, Task{Name: "bad", Run: func(context.Context) error { return broken }}); err == nil || err.Error() != "bad: broken" {
		t.Errorf("a failed task beside one that repeats the reason: %v", err)
	}
	late := errors.New("late")
	closing := Task{Name: "closing", Run: func(ctx context.Context) error { <-ctx.Done(); return late }}
	cancel()
	if err := RunTasks(ctx, running, running); err != nil {
		t.Errorf("the end of the context: %v", err)
	}
	if err := RunTasks(ctx, running, closing); !errors.Is(err, late) {
		t.Errorf("an error while ending: %v", err)
	}
}

// A task that is to end last sees the others end; its own fault ends them.
func TestRunTasksLast(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	looking := make(chan context.Context, 1)
	look := Task{Name: "look", Last: true, Run: func(ctx context.Context) error {
		looking <- ctx
		return wait(ctx)
	}}
	first := Task{Name: "first", Run: func(ctx context.Context) error {
		last := <-looking
		cancel()
		<-ctx.Done()
		if last.Err() != nil {
			t.Error("it ends before the others have ended")
		}
		return nil
	}}
	if err := RunTasks(ctx, look, first); err != nil {
		t.Error(err)
	}
	broken := Task{Name: "broken", Last: true, Run: func(context.Context) error { return errors.New("no socket") }}
	if err := RunTasks(t.Context(), broken, Task{Name: "running", Run: wait}); err == nil || err.Error() != "broken: no socket" {
		t.Errorf("got %v", err)
	}
}
