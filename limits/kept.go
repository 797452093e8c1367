package limits

import (
	"sync"
	"time"
)

// keepFor is how long after its last user a name's value is kept: a Bucket of things in a minute is full again by then.
const keepFor = time.Minute

// Kept has a value, of Buckets, for each name that is in use, and keeps it for a minute after that, so that who goes and
// comes back does not find everything unused. The zero value is ready; its methods may be called from any goroutine.
type Kept[T any] struct {
	mu     sync.Mutex
	values map[string]*kept[T]
}

type kept[T any] struct {
	value T
	users int
	left  time.Time // when the last user left
}

// Take gives the value of a name, made by a function where there is none. Release follows.
func (k *Kept[T]) Take(name string, made func() T) T {
	k.mu.Lock()
	defer k.mu.Unlock()
	for n, v := range k.values {
		if v.users == 0 && time.Since(v.left) >= keepFor {
			delete(k.values, n)
		}
	}
	v := k.values[name]
	if v == nil {
		if k.values == nil {
			k.values = map[string]*kept[T]{}
		}
		v = &kept[T]{value: made()}
		k.values[name] = v
	}
	v.users++
	return v.value
}

// Release ends one use of the name.
func (k *Kept[T]) Release(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.values[name]; v != nil && v.users > 0 {
		v.users--
		v.left = time.Now()
	}
}

// Get gives the value of a name, where there is one.
func (k *Kept[T]) Get(name string) (value T, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.values[name]; v != nil {
		return v.value, true
	}
	return value, false
}
