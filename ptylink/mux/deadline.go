package mux

import (
	"sync"
	"time"
)

// deadline makes waiting on a condition end at a point in time. The lock of the
// condition guards it.
type deadline struct {
	passed bool
	timer  *time.Timer
}

// set moves the deadline; the zero time takes it away. Those who wait look again.
func (d *deadline) set(t time.Time, c *sync.Cond) {
	d.stop()
	d.passed = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.passed = true
		c.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		c.L.Lock()
		defer c.L.Unlock()
		if d.timer == timer { // not moved meanwhile
			d.passed = true
			c.Broadcast()
		}
	})
	d.timer = timer
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
