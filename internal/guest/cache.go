package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// maxGuests is how many guests may run on a machine at once: each keeps a core busy.
const maxGuests = 2

// cache is the folder that keeps what was made of packages: bipd-guest in the user's cache folder. Entries are folders that
// are named after the package and its version, and are never changed once they are there.
type cache string

func openCache() (cache, error) {
	up, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(up, "bipd-guest")
	return cache(dir), os.MkdirAll(dir, 0o755)
}

// entry returns the folder with that key. If it is not there, fill makes it, in one process at a time; the others wait. What
// fill leaves in its folder becomes the entry only if it returns nil.
func (c cache) entry(ctx context.Context, key string, fill func(dir string) error) (string, error) {
	final := filepath.Join(string(c), key)
	if exists(final) {
		return final, nil
	}
	unlock, err := c.lock(ctx, key+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(final) {
		return final, nil
	}
	unfinished := final + ".new" // also what a killed process left behind: we hold the lock
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	if err := os.Mkdir(unfinished, 0o755); err != nil {
		return "", err
	}
	if err := fill(unfinished); err != nil {
		return "", errors.Join(fmt.Errorf("%s: %w", key, err), os.RemoveAll(unfinished))
	}
	return final, os.Rename(unfinished, final)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// slot waits until fewer than maxGuests guests run, and counts the caller as one until it calls the function.
func (c cache) slot(ctx context.Context) (release func(), err error) {
	names := make([]string, maxGuests)
	for i := range names {
		names[i] = fmt.Sprintf("slot%d", i)
	}
	return c.lock(ctx, names...)
}

// lock takes one of the locks with these names, whichever is free first. The kernel gives it back if the process dies.
func (c cache) lock(ctx context.Context, names ...string) (unlock func(), err error) {
	for {
		for _, name := range names {
			f, err := os.OpenFile(filepath.Join(string(c), name), os.O_CREATE|os.O_RDWR, 0o644)
			if err != nil {
				return nil, err
			}
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			if err == nil {
				return func() { f.Close() }, nil
			}
			f.Close()
			if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
				return nil, fmt.Errorf("lock %s: %w", name, err)
			}
		}
		select {
		case <-time.After(50 * time.Millisecond): // flock has no wait that a context ends
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock %s: %w", names[0], ctx.Err())
		}
	}
}
