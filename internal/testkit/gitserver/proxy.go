package gitserver

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Proxy is an HTTP proxy that tunnels and forwards, or a SOCKS5 proxy, on a free port of 127.0.0.1.
type Proxy struct {
	// URL is its address, without credentials.
	URL                string
	username, password string
	listener           net.Listener
	running            sync.WaitGroup
	used               counter
}

// Used is how many connections or requests the proxy has passed on.
func (p *Proxy) Used() int { return p.used.get("") }

// ServeProxy starts an HTTP proxy, which asks for credentials if the username is not empty.
func (h *Host) ServeProxy(username, password string) (*Proxy, error) {
	p, err := newProxy("http", username, password)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(p.http), ReadHeaderTimeout: 10 * time.Second, ErrorLog: quiet}
	p.running.Go(func() { _ = server.Serve(p.listener) })
	h.onClose(func() error {
		err := server.Close()
		p.running.Wait()
		return err
	})
	return p, nil
}

// ServeSOCKS starts a SOCKS5 proxy, which asks for credentials if the username is not empty.
func (h *Host) ServeSOCKS(username, password string) (*Proxy, error) {
	p, err := newProxy("socks5", username, password)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	p.running.Go(func() {
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				_ = p.socks(ctx, conn) // a client that leaves early is no error of the proxy
			})
		}
	})
	h.onClose(func() error {
		stop()
		err := p.listener.Close()
		p.running.Wait()
		return err
	})
	return p, nil
}

func newProxy(scheme, username, password string) (*Proxy, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot listen for a proxy: %w", err)
	}
	return &Proxy{URL: scheme + "://" + listener.Addr().String(), username: username, password: password, listener: listener}, nil
}

func (p *Proxy) http(w http.ResponseWriter, r *http.Request) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.username+":"+p.password))
	if p.username != "" && !same(r.Header.Get("Proxy-Authorization"), want) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		http.Error(w, "", http.StatusProxyAuthRequired)
		return
	}
	p.used.add("")
	if r.Method != http.MethodConnect {
		forward := &httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(&url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host})
		}, ErrorLog: quiet}
		forward.ServeHTTP(w, r)
		return
	}
	to, err := new(net.Dialer).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, "", http.StatusBadGateway)
		return
	}
	defer to.Close()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	pipe(conn, to)
}

// pipe passes bytes in both directions until one ends.
func pipe(a, b net.Conn) {
	var done sync.WaitGroup
	done.Go(func() {
		_, _ = io.Copy(a, b)
		_ = a.Close()
	})
	_, _ = io.Copy(b, a)
	_ = b.Close()
	done.Wait()
}

var errSOCKS = errors.New("not what a SOCKS5 client sends")

// socks holds one conversation by RFC 1928 and RFC 1929.
func (p *Proxy) socks(ctx context.Context, conn net.Conn) error {
	methods, err := block(conn, 1)
	if err != nil {
		return err
	}
	if p.username == "" {
		_, err = conn.Write([]byte{5, 0})
	} else {
		err = p.socksLogin(conn, methods)
	}
	if err != nil {
		return err
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	host := ""
	switch head[3] {
	case 1, 4:
		ip := make(net.IP, map[byte]int{1: net.IPv4len, 4: net.IPv6len}[head[3]])
		if _, err := io.ReadFull(conn, ip); err != nil {
			return err
		}
		host = ip.String()
	case 3:
		name, err := block(conn, 0)
		if err != nil {
			return err
		}
		host = string(name)
	default:
		return errSOCKS
	}
	port := make([]byte, 2)
	if _, err := io.ReadFull(conn, port); err != nil {
		return err
	}
	to, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port)))))
	if err != nil {
		_, err := conn.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
		return err
	}
	p.used.add("")
	if _, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	defer to.Close()
	pipe(conn, to)
	return nil
}

func (p *Proxy) socksLogin(conn net.Conn, methods []byte) error {
	offered := false
	for _, m := range methods {
		offered = offered || m == 2
	}
	if !offered {
		_, err := conn.Write([]byte{5, 0xff})
		return err
	}
	if _, err := conn.Write([]byte{5, 2}); err != nil {
		return err
	}
	username, err := block(conn, 1)
	if err != nil {
		return err
	}
	password, err := block(conn, 0)
	if err != nil {
		return err
	}
	if string(username) != p.username || string(password) != p.password {
		_, _ = conn.Write([]byte{1, 1})
		return errSOCKS
	}
	_, err = conn.Write([]byte{1, 0})
	return err
}

// block reads what follows a byte with its length, behind some bytes that are skipped.
func block(from io.Reader, skip int) ([]byte, error) {
	head := make([]byte, skip+1)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	data := make([]byte, head[skip])
	_, err := io.ReadFull(from, data)
	return data, err
}
