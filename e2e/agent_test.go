package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/skerry-dev/skerry/internal/testkit/linkproxy"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// openLink gives the case a link between agents and the gateway: the hub is to listen on $GATEWAY_BIND, agents dial
// $GATEWAY.
func (c *call) openLink() error {
	bind, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	if c.link, err = linkproxy.Listen(bind); err != nil {
		return err
	}
	c.t.Cleanup(func() { _ = c.link.Close() })
	c.ts.Setenv("GATEWAY_BIND", bind)
	c.ts.Setenv("GATEWAY", "https://"+c.link.Address())
	return nil
}

func agentPower(ctx context.Context, c call) error {
	kubeconfig, other := c.option("kubeconfig")
	oneMore := len(c.args) > 0 && slices.Contains([]string{"import", "report", "says"}, c.args[0])
	if len(c.args) < 2 || len(c.args) > 2 && c.args[0] != "start" && !oneMore || oneMore && len(c.args) != 3 {
		return errors.New("wants start EDGE [NAME=VALUE...], stop|kill|wipe|ended EDGE, import|report EDGE FILE, or says EDGE REGEXP")
	}
	e, err := c.edge(c.args[1])
	if err != nil {
		return err
	}
	a := c.agents[e.Name]
	if a == nil {
		if other {
			kubeconfig = c.ts.MkAbs(kubeconfig)
		} else {
			kubeconfig = e.Kubeconfig
		}
		a = rig.NewAgent(rig.AgentOptions{Kubeconfig: kubeconfig, Dir: filepath.Dir(c.rig.Hub.LogFile()), Name: e.Name})
		if c.agents == nil {
			c.agents = map[string]*rig.Agent{}
		}
		c.agents[e.Name] = a
		c.t.Cleanup(func() {
			if err := a.Stop(); err != nil {
				c.t.Error(err)
			}
		})
	}
	switch c.args[0] {
	case "import", "report":
		return carried(ctx, c, a)
	case "says":
		return logged(ctx, a, c.args[2])
	case "start":
		return a.Start(ctx, c.args[2:]...)
	case "stop":
		return a.Stop()
	case "kill":
		a.Kill()
		return nil
	case "wipe":
		return a.Wipe()
	case "ended":
		return a.Ended(ctx)
	}
	return fmt.Errorf("cannot %s an agent", c.args[0])
}

// carried has the agent take an update from a file, or write a report into one.
func carried(ctx context.Context, c call, a *rig.Agent) error {
	file := c.ts.MkAbs(c.args[2])
	switch c.args[0] {
	case "import":
		return a.Command(ctx, "import", file)
	case "report":
		return a.Command(ctx, "report", "-o", file)
	}
	return fmt.Errorf("cannot %s a file", c.args[0])
}

// logged waits until a line of the agent's log matches.
func logged(ctx context.Context, a *rig.Agent, pattern string) error {
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		raw, err := os.ReadFile(a.LogFile())
		if err != nil {
			return err
		}
		if wanted.Match(raw) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent's log has no match for %q: %s", pattern, a.LogTail(10))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// damage copies a file, with one bit of its last bytes changed.
func damage(_ context.Context, c call) error {
	if len(c.args) != 2 {
		return errors.New("wants FILE COPY")
	}
	raw, err := os.ReadFile(c.ts.MkAbs(c.args[0]))
	if err != nil {
		return err
	}
	raw[len(raw)-len(raw)/4] ^= 1
	return os.WriteFile(c.ts.MkAbs(c.args[1]), raw, 0o600)
}

func linkFault(_ context.Context, c call) error {
	switch words := c.args; {
	case c.link == nil:
		return errors.New("only a world of the case's own has a link")
	case len(words) == 1 && words[0] == "ok":
		c.link.Heal()
	case len(words) == 1 && words[0] == "cut":
		c.link.Cut()
	case len(words) == 1 && words[0] == "reset":
		c.link.Reset()
	case len(words) == 1 && words[0] == "half-open":
		c.link.HalfOpen()
	case len(words) == 2 && words[0] == "delay":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		c.link.Delay(d)
	case len(words) == 2 && words[0] == "throttle":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			return err
		}
		c.link.Throttle(n)
	default:
		return errors.New("wants ok|cut|reset|half-open|delay D|throttle N")
	}
	return nil
}

// openProxy starts an HTTP proxy, which alone knows the hosts: it leads to the link by their names, and to no other.
//
//	proxy HOST:PORT...
func openProxy(_ context.Context, c call) error {
	if c.link == nil || len(c.args) == 0 {
		return errors.New("wants HOST:PORT..., in a world of the case's own")
	}
	tunnels, err := linkproxy.ListenTunnels()
	if err != nil {
		return err
	}
	c.t.Cleanup(func() { _ = tunnels.Close() })
	for _, host := range c.args {
		tunnels.Lead(host, c.link.Address())
	}
	c.tunnels = tunnels
	c.ts.Setenv("PROXY", tunnels.URL())
	return nil
}

// openIngress puts a reverse proxy that terminates TLS between the proxy and the link, for one host, and writes its
// certificate into a file, and the key of that beside it.
//
//	ingress HOST:PORT FILE
func openIngress(_ context.Context, c call) error {
	if c.tunnels == nil || len(c.args) != 2 {
		return errors.New("wants HOST:PORT FILE, after proxy")
	}
	host, _, err := net.SplitHostPort(c.args[0])
	if err != nil {
		return err
	}
	ingress, err := linkproxy.ListenIngress(host, c.link.Address())
	if err != nil {
		return err
	}
	c.t.Cleanup(func() { _ = ingress.Close() })
	c.tunnels.Lead(c.args[0], ingress.Address())
	file := c.ts.MkAbs(c.args[1])
	return errors.Join(os.WriteFile(file, ingress.Certificate, 0o600), os.WriteFile(file+".key", ingress.Key, 0o600))
}
