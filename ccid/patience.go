package ccid

import (
	"context"
	"errors"
	"time"
)

// errPatience is the cause of a context that ended because the reader took too long.
var errPatience = errors.New("ccid: no answer in time")

// patience gives each command a context that ends with the caller's or when the time for the answer is over. The context
// is kept for the next command as long as the caller's is the same, so that a command costs no more than setting a
// timer. One command uses it at a time.
type patience struct {
	done   <-chan struct{} // the caller's
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// begin gives the context for one command.
func (p *patience) begin(parent context.Context, d time.Duration) context.Context {
	if p.ctx != nil && p.done == parent.Done() && p.ctx.Err() == nil {
		p.timer.Reset(d)
		return p.ctx
	}
	p.drop()
	ctx, cancel := context.WithCancelCause(parent)
	p.done, p.ctx, p.cancel = parent.Done(), ctx, cancel
	p.timer = time.AfterFunc(d, func() { cancel(errPatience) })
	return ctx
}

// extend sets the time that is left. It may be called by any goroutine between begin and end.
func (p *patience) extend(d time.Duration) { p.timer.Reset(d) }

// end stops the clock. A context whose time ran out, be it this moment, is not used again.
func (p *patience) end() {
	if !p.timer.Stop() {
		p.drop()
	}
}

// drop gives up the context.
func (p *patience) drop() {
	if p.ctx != nil {
		p.timer.Stop()
		p.cancel(nil)
		p.ctx = nil
	}
}
