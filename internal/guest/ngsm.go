package guest

import (
	"archive/tar"
	"context"
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

// gsmModule is the kernel's 3GPP TS 27.010, which Debian's kernel is built without.
const gsmModule = "n_gsm"

// gsmSources are the files of the kernel's source that it is made of.
var gsmSources = []string{"drivers/tty/n_gsm.c", "drivers/tty/tty.h"}

// gsm returns the module, built for the kernel from the source of the same version.
func (c cache) gsm(ctx context.Context, k *kernel) (string, error) {
	dir, err := c.entry(ctx, gsmModule+"_"+k.release+"_"+k.version, func(dir string) error {
		for _, program := range []string{"make", "strip", "xz"} {
			if _, err := exec.LookPath(program); err != nil {
				return &MissingError{"building n_gsm needs " + program, err}
			}
		}
		work := filepath.Join(dir, "build")
		err := buildGSM(ctx, k, work)
		if err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(work, "module", gsmModule+".ko"), filepath.Join(dir, gsmModule+".ko")); err != nil {
			return err
		}
		return os.RemoveAll(work)
	})
	return filepath.Join(dir, gsmModule+".ko"), err
}

func buildGSM(ctx context.Context, k *kernel, work string) error {
	series := strings.Join(strings.SplitN(k.release, ".", 3)[:2], ".") // "6.1"
	flavour := "linux-headers-" + k.release
	common := "linux-headers-" + strings.TrimSuffix(k.release, "-amd64") + "-common"
	source := "linux-source-" + series
	module := filepath.Join(work, "module")
	if err := os.MkdirAll(module, 0o755); err != nil {
		return err
	}
	list, err := candidates(ctx, flavour, common, "linux-kbuild-"+series, source)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.version != k.version {
			return &MissingError{fmt.Sprintf("%s is of version %s and the kernel of %s", d.name, d.version, k.version), nil}
		}
		file, err := d.download(ctx, work)
		if err != nil {
			return err
		}
		if d.name == source {
			err = gsmSource(ctx, file, module)
		} else {
			_, err = command(ctx, "", "dpkg-deb", "-x", file, work)
		}
		if err != nil {
			return err
		}
	}
	headers := filepath.Join(work, "usr/src", flavour)
	if err := checkCompiler(filepath.Join(headers, ".kernelvariables")); err != nil {
		return err
	}
	if err := relocate(filepath.Join(headers, "Makefile"), work); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(module, "Kbuild"), []byte("obj-m := "+gsmModule+".o\n"), 0o644); err != nil {
		return err
	}
	if _, err := command(ctx, "", "make", "-C", headers, "M="+module, "modules"); err != nil {
		return err
	}
	_, err = command(ctx, module, "strip", "-g", gsmModule+".ko")
	return err
}

// compiler is that of the kernel as the headers' .kernelvariables name it.
var compiler = regexp.MustCompile(`(?m)^(?:override )?CC *=.*\b(gcc-\d+)$`)

// checkCompiler says whether the compiler is there that the kernel was built with: modules must be of the same.
func checkCompiler(variables string) error {
	text, err := os.ReadFile(variables)
	if err != nil {
		return err
	}
	m := compiler.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%s names no compiler", filepath.Base(variables))
	}
	if _, err := exec.LookPath(string(m[1])); err != nil {
		return &MissingError{"building n_gsm needs " + string(m[1]), err}
	}
	return nil
}

// absolute are the places where the headers' Makefile expects to be installed.
var absolute = regexp.MustCompile(`(?m)(^include |=\s*)/usr/`)

// relocate has the headers' Makefile look below the folder.
func relocate(makefile, below string) error {
	text, err := os.ReadFile(makefile)
	if err != nil {
		return err
	}
	return os.WriteFile(makefile, absolute.ReplaceAll(text, []byte("${1}"+below+"/usr/")), 0o644)
}

// gsmSource puts the sources out of the package, which has the kernel's source as one archive, into a folder.
func gsmSource(ctx context.Context, file, dir string) error {
	found := 0
	enough := errors.New("all sources are found")
	err := readDeb(ctx, file, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg || !strings.HasSuffix(h.Name, ".tar.xz") {
			return nil
		}
		xz := exec.CommandContext(ctx, "xz", "-dc")
		xz.Stdin = r
		return readTar(xz, func(h *tar.Header, r io.Reader) error {
			_, name, _ := strings.Cut(h.Name, "/") // without the folder of the source
			for _, want := range gsmSources {
				if name == want {
					text, err := io.ReadAll(r)
					if err != nil {
						return err
					}
					found++
					if err := os.WriteFile(filepath.Join(dir, path.Base(name)), text, 0o644); err != nil {
						return err
					}
				}
			}
			if found == len(gsmSources) {
				return enough
			}
			return nil
		})
	})
	if errors.Is(err, enough) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s has no %s", filepath.Base(file), gsmSources)
	}
	return err
}
