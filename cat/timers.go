package cat

import "time"

// timers are the terminal's eight timers (clause 6.4.21).
type timers [maxTimers + 1]struct { // index 0 is not used
	running  bool
	deadline time.Time
	value    TimerValue // with which it was started
}

func (t *timers) start(id byte, v TimerValue, now time.Time) {
	t[id].running, t[id].value, t[id].deadline = true, v, now.Add(time.Duration(v))
}

func (t *timers) clear(id byte) { t[id].running = false }

// remaining is the time left, in whole seconds rounded up, and false where the timer does not run.
func (t *timers) remaining(id byte, now time.Time) (TimerValue, bool) {
	left := max(t[id].deadline.Sub(now), 0)
	return TimerValue((left + time.Second - 1).Truncate(time.Second)), t[id].running
}

// next is when the first timer runs out.
func (t *timers) next() (time.Time, bool) {
	var first time.Time
	any := false
	for _, x := range t {
		if x.running && (!any || x.deadline.Before(first)) {
			first, any = x.deadline, true
		}
	}
	return first, any
}

// expired returns a timer that has run out, the earliest first, with the value it was started with.
func (t *timers) expired(now time.Time) (id byte, v TimerValue, ok bool) {
	for i := range t {
		if t[i].running && !t[i].deadline.After(now) && (!ok || t[i].deadline.Before(t[id].deadline)) {
			id, v, ok = byte(i), t[i].value, true
		}
	}
	return id, v, ok
}
