package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// checkPrivate returns nil where createPrivate could make the file now.
func checkPrivate(path string) error {
	st, err := os.Lstat(path)
	switch {
	case err == nil && !st.Mode().IsRegular():
		return fmt.Errorf("%s is there and is no regular file", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dir := filepath.Dir(path)
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// createPrivate makes a file for its owner alone, mode 0600, in place of a regular file that may be there: what cards say
// is in it. A symbolic link, and whatever else is no regular file, is left alone.
func createPrivate(path string) (*os.File, error) {
	if err := checkPrivate(path); err != nil {
		return nil, err
	}
	// A new file that takes the name: neither a link put there meanwhile nor the mode and owner of an old file matter.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		f.Close()
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return f, nil
}
