package sms

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bipd/cat"
)

// Spool writes each message into a file of its own in a directory. A file appears whole, with mode 0600, under a name that ends in
// .json and that sorts by time; who takes a message away removes its file.
type Spool struct{ Dir string }

// Send writes the message. After it has returned without an error the file is on the disk.
func (s Spool) Send(_ context.Context, m cat.ShortMessage) error {
	at := time.Now().UTC()
	b, err := encode(m, at)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.Dir, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	_, unique, _ := strings.Cut(filepath.Base(f.Name()), "-")
	err = fill(f, b)
	if err == nil {
		name := fmt.Sprintf("%s-%s-%s.json", at.Format("20060102T150405.000000000Z"), m.Card, unique)
		err = os.Rename(f.Name(), filepath.Join(s.Dir, name))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("spool: %w", err)
	}
	return syncDir(s.Dir)
}

// fill writes, syncs and closes the file.
func fill(f *os.File, b []byte) error {
	_, err := f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// syncDir makes the new name last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}
