package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// kernel is Debian's, unpacked in the cache.
type kernel struct {
	release string // uname -r
	version string // of the package
	vmlinux string // the ELF file, which QEMU boots some seconds faster than the compressed one
	tree    *moduleTree
}

// kernelMeta is the package that depends on the present kernel. Kernels leave the mirror, so none is named here.
const kernelMeta = "linux-image-amd64"

// leftOut are modules that take most of the room and that no test here is about.
var leftOut = regexp.MustCompile(`/kernel/(sound|fs|drivers/(gpu|media|scsi|infiniband|iio|staging|hwmon|md|mtd|video|target|comedi|ata|nvme|net/ethernet|net/wireless/[^/]+/))`)

// kernel returns the present kernel, and downloads it if the cache does not have it.
func (c cache) kernel(ctx context.Context) (*kernel, error) {
	out, err := askApt(ctx, "apt-cache", "depends", "--important", kernelMeta)
	if err != nil {
		return nil, &MissingError{"apt does not know " + kernelMeta, err}
	}
	name := ""
	for _, alternatives := range parseDepends(string(out))[kernelMeta] {
		if strings.HasPrefix(alternatives[0], "linux-image-") {
			name = alternatives[0]
		}
	}
	if name == "" {
		return nil, &MissingError{kernelMeta + " depends on no kernel", nil}
	}
	list, err := candidates(ctx, name)
	if err != nil {
		return nil, err
	}
	d := list[0]
	dir, err := c.entry(ctx, d.key(), func(dir string) error {
		file, err := d.download(ctx, dir)
		if err != nil {
			return err
		}
		if err := unpackKernel(ctx, file, dir); err != nil {
			return err
		}
		return os.Remove(file)
	})
	if err != nil {
		return nil, err
	}
	tree, err := readTree(dir)
	if err != nil {
		return nil, err
	}
	release := strings.TrimPrefix(name, "linux-image-")
	return &kernel{release: release, version: d.version, vmlinux: filepath.Join(dir, "vmlinux"), tree: tree}, nil
}

// unpackKernel puts vmlinux, the modules below modules/, and an index of them into a folder.
func unpackKernel(ctx context.Context, file, dir string) error {
	tree := &moduleTree{dir: dir, Modules: make(map[string]moduleInfo)}
	found := false
	err := readDeb(ctx, file, func(h *tar.Header, r io.Reader) error {
		base := path.Base(h.Name)
		switch {
		case h.Typeflag != tar.TypeReg:
			return nil
		case strings.HasPrefix(h.Name, "boot/vmlinuz-"):
			vmlinuz, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			found = true
			return writeVmlinux(ctx, vmlinuz, filepath.Join(dir, "vmlinux"))
		case base == "modules.builtin":
			list, err := io.ReadAll(r)
			tree.addBuiltin(string(list))
			return err
		case strings.HasSuffix(base, ".ko") && !leftOut.MatchString("/"+h.Name):
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			return tree.add(base, data)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !found:
		return errors.New("the package has no boot/vmlinuz-*")
	case len(tree.Modules) == 0:
		return errors.New("the package has no modules, or compressed ones")
	}
	index, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644)
}

// xzMagic begins an xz stream (The .xz File Format, 2.1.1.1).
var xzMagic = []byte{0xFD, '7', 'z', 'X', 'Z', 0}

// writeVmlinux unpacks the ELF file in a vmlinuz.
func writeVmlinux(ctx context.Context, vmlinuz []byte, to string) error {
	for rest := vmlinuz; ; {
		at := bytes.Index(rest, xzMagic)
		if at < 0 {
			return errors.New("vmlinuz has no xz stream with an ELF file in it")
		}
		rest = rest[at:]
		var out, said bytes.Buffer
		cmd := exec.CommandContext(ctx, "xz", "-dc", "--single-stream")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(rest), &out, &said
		err := cmd.Run()
		if err == nil && bytes.HasPrefix(out.Bytes(), []byte("\x7fELF")) {
			return os.WriteFile(to, out.Bytes(), 0o644)
		}
		if errors.Is(err, exec.ErrNotFound) {
			return &MissingError{"the program xz is not there", err}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("xz: %w", ctx.Err())
		}
		rest = rest[1:]
	}
}
