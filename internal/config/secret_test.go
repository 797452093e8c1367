package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// readers are the functions that read a secret's file.
var readers = map[string]func(file string) error{
	"PIN":      func(file string) error { _, err := ReadSecretFile(file); return err },
	"profiles": func(file string) error { _, err := LoadProfiles(file, Egress{}); return err },
}

// secretFile writes a file that both readers take.
func secretFile(t *testing.T, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(path, []byte("# 4711\n"), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecretMode(t *testing.T) {
	for what, read := range readers {
		for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o440: false, 0o604: false, 0o620: false, 0o601: false, 0o777: false} {
			path := secretFile(t, mode)
			err := read(path)
			if ok != (err == nil) {
				t.Errorf("%s of mode %#o: %v", what, mode, err)
			}
			if !ok && (!strings.Contains(err.Error(), fmt.Sprintf("%04o", mode)) || !strings.Contains(err.Error(), "chmod 600 "+path)) {
				t.Errorf("%s of mode %#o: error %q does not say the mode and what to do", what, mode, err)
			}
		}
		if err := read(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "none") {
			t.Errorf("%s: missing file: %v", what, err)
		}
	}
}

// What is no regular file is refused, without waiting for a writer; a link is followed to a file that is judged.
func TestSecretKind(t *testing.T) {
	dir := t.TempDir()
	fifo, good, bad := filepath.Join(dir, "fifo"), filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600), os.Symlink(secretFile(t, 0o600), good), os.Symlink(secretFile(t, 0o644), bad)); err != nil {
		t.Fatal(err)
	}
	large := secretFile(t, 0o600)
	if err := os.Truncate(large, maxSecret+1); err != nil {
		t.Fatal(err)
	}
	for what, read := range readers {
		for path, want := range map[string]string{
			fifo: "not a regular file", dir: "not a regular file", "/dev/null": "not a regular file",
			bad: "has mode 0644", large: "more than",
		} {
			if err := read(path); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s from %s: %v, want %q", what, path, err, want)
			}
		}
		if err := read(good); err != nil {
			t.Errorf("%s by a link: %v", what, err)
		}
	}
}

// The owner counts: another user could change the file at any time, whatever its mode.
func TestSecretOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := secretFile(t, 0o600)
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	for what, read := range readers {
		if err := read(path); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// systemd's files are taken as systemd makes them, root's and with mode 0440; a link may not lead out of their directory.
func TestSecretCredential(t *testing.T) {
	path := secretFile(t, 0o440)
	dir := filepath.Dir(path)
	outside, open := secretFile(t, 0o440), filepath.Join(dir, "open")
	err := errors.Join(os.Symlink(outside, filepath.Join(dir, "out")), os.WriteFile(open, nil, 0o600), os.Chmod(open, 0o444))
	if err != nil {
		t.Fatal(err)
	}
	for what, read := range readers {
		if err := read(path); err == nil {
			t.Errorf("%s: the file was taken for a credential without a directory of credentials", what)
		}
		t.Setenv("CREDENTIALS_DIRECTORY", dir)
		if err := read(path); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for _, wrong := range []string{outside, filepath.Join(dir, "out"), open, dir, filepath.Join(dir, "..", "secret")} {
			if err := read(wrong); err == nil {
				t.Errorf("%s: %s was taken for a credential", what, wrong)
			}
		}
		os.Unsetenv("CREDENTIALS_DIRECTORY")
	}
}
