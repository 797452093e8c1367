package bip

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bipd/tcpend"
)

// TestAwaitDelivery has octets become less at different rates: what is slow is waited for, what stands still is not.
func TestAwaitDelivery(t *testing.T) {
	const limit = 30 * time.Second
	for name, tc := range map[string]struct {
		octets int
		every  time.Duration // an octet of them is delivered in that time; 0 = none
		want   error
		after  time.Duration
	}{
		"nothing left":       {0, 0, nil, 0},
		"16 KiB at 9600 Bd":  {16384, time.Second / 960, nil, 17066 * time.Millisecond},
		"as slow as may be":  {9, 29 * time.Second, nil, 9 * 29 * time.Second},
		"stands still":       {1000, 0, errNotTaken, limit},
		"too slow":           {9, 31 * time.Second, errNotTaken, limit},
		"a trickle for ever": {1000, 29 * time.Second, errNotTaken, tcpend.MaxLimits * limit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := awaitDelivery(limit, func() (int, error) {
					if tc.every == 0 {
						return tc.octets, nil
					}
					return max(0, tc.octets-int(time.Since(start)/tc.every)), nil
				})
				if took := time.Since(start); err != tc.want || took < tc.after || took > tc.after+2*maxLook {
					t.Errorf("ended after %v: %v; want %v: %v", took, err, tc.after, tc.want)
				}
			})
		})
	}
	lost := errors.New("lost")
	if err := awaitDelivery(limit, func() (int, error) { return 5, lost }); err != lost {
		t.Errorf("a lost connection: %v", err)
	}
}
