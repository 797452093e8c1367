package limits

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A name that goes and comes back within a minute has what it had; later, and for other names, it is made anew, and what was
// is forgotten.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k Kept[*Bucket]
		made := func() *Bucket { return New(1, time.Hour, 1) }
		first := k.Take("a", made)
		if k.Take("a", made) != first || k.Take("b", made) == first {
			t.Error("one value for each name is wanted")
		}
		k.Release("a")
		time.Sleep(time.Hour)
		if got, ok := k.Get("a"); !ok || got != first || k.Take("a", made) != first {
			t.Error("a value in use is forgotten")
		}
		k.Release("a")
		k.Release("a")
		k.Release("nobody")
		time.Sleep(59 * time.Second)
		if k.Take("a", made) != first {
			t.Error("it is forgotten within a minute")
		}
		k.Release("a")
		time.Sleep(time.Minute)
		if k.Take("a", made) == first {
			t.Error("it is kept for longer than a minute")
		}
		for i := range 100 {
			name := fmt.Sprint(i)
			k.Take(name, made)
			k.Release(name)
		}
		time.Sleep(time.Minute)
		k.Take("c", made)
		if n := len(k.values); n != 3 { // a, b, c
			t.Errorf("%d names are kept", n)
		}
		if _, ok := k.Get("0"); ok {
			t.Error("a name that was forgotten has a value")
		}
	})
}
