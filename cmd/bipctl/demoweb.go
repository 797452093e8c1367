package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"bipd/internal/netbed"
)

// webServer serves the file over HTTP and HTTPS on a host.
type webServer struct {
	name  string         // for people
	roots *x509.CertPool // to verify it by
	stop  []func()
}

func (w *webServer) close() {
	for _, f := range w.stop {
		f()
	}
}

const serverAddress = "203.0.113.80"

// startWeb runs the nginx at the path given, or the embedded server where that is "".
func startWeb(ctx context.Context, host *netbed.Host, dir string, file []byte, nginx string) (*webServer, error) {
	w := &webServer{roots: x509.NewCertPool()}
	cert, key, err := makeCertificate(w.roots)
	if err != nil {
		return nil, err
	}
	for name, data := range map[string][]byte{"cert.pem": cert, "key.pem": key, "file": file} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	if nginx == "" {
		return w, w.embed(ctx, host, dir)
	}
	return w, w.runNginx(ctx, nginx, host, dir)
}

// findNginx looks also where Debian has it, which is not on everybody's path.
func findNginx() (string, error) {
	if p, err := exec.LookPath("nginx"); err == nil {
		return p, nil
	}
	return exec.LookPath("/usr/sbin/nginx")
}

// nginxConfig has one process, which stays the user it is: in a user namespace there is no other.
const nginxConfig = `daemon off;
user root;
master_process off;
pid DIR/nginx.pid;
error_log DIR/nginx-error.log;
events { worker_connections 64; }
http {
	access_log DIR/nginx-access.log;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server {
		listen ADDRESS:80;
		listen ADDRESS:443 ssl;
		ssl_certificate DIR/cert.pem;
		ssl_certificate_key DIR/key.pem;
		ssl_protocols TLSv1.2 TLSv1.3;
		location = /file { root DIR; }
	}
}
`

func (w *webServer) runNginx(ctx context.Context, nginx string, host *netbed.Host, dir string) error {
	out, err := exec.CommandContext(ctx, nginx, "-v").CombinedOutput()
	if err != nil {
		return fmt.Errorf("nginx -v: %w", err)
	}
	w.name = strings.TrimSpace(strings.TrimPrefix(string(out), "nginx version: "))
	conf := filepath.Join(dir, "nginx.conf")
	text := strings.NewReplacer("DIR", dir, "ADDRESS", serverAddress).Replace(nginxConfig)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	p, err := startProcess(ctx, host, dir, nginx, "-c", conf, "-p", dir)
	if err != nil {
		return err
	}
	w.stop = append(w.stop, p.close)
	return p.until(ctx, func(ctx context.Context) error {
		for _, port := range []string{"80", "443"} {
			c, err := host.Dial(ctx, "tcp", net.JoinHostPort(serverAddress, port))
			if err != nil {
				return err
			}
			c.Close()
		}
		return nil
	})
}

// embed serves from this process, on the host.
func (w *webServer) embed(ctx context.Context, host *netbed.Host, dir string) error {
	w.name = "embedded (nginx is not installed)"
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /file", func(rw http.ResponseWriter, r *http.Request) { http.ServeFile(rw, r, filepath.Join(dir, "file")) })
	srv := &http.Server{
		Handler:           mux,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}},
		ReadHeaderTimeout: time.Minute, // it bounds also how long a card may keep a connection idle
	}
	w.stop = append(w.stop, func() { srv.Close() })
	plain, err := host.Listen(ctx, "tcp", net.JoinHostPort(serverAddress, "80"))
	if err != nil {
		return err
	}
	secure, err := host.Listen(ctx, "tcp", net.JoinHostPort(serverAddress, "443"))
	if err != nil {
		plain.Close()
		return err
	}
	go srv.Serve(plain)
	go srv.ServeTLS(secure, "", "")
	return nil
}

// makeCertificate makes a certificate for the server's address, which signs itself, and adds it to the roots.
func makeCertificate(roots *x509.CertPool) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "BIP demonstration"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(serverAddress)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots.AppendCertsFromPEM(cert)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
