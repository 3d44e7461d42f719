// Reads manifests of the Prometheus operator's kinds from standard input and fails at what its own
// Go types do not have: there is no published schema that can be had without a cluster.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func main() {
	log.SetFlags(0)
	reader := utilyaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		var head struct{ Kind string }
		if err := yaml.Unmarshal(document, &head); err != nil {
			log.Fatal(err)
		}
		kinds := map[string]any{
			"PodMonitor":     &monitoring.PodMonitor{},
			"PrometheusRule": &monitoring.PrometheusRule{},
		}
		if err := yaml.UnmarshalStrict(document, kinds[head.Kind]); err != nil {
			log.Fatalf("%s: %v", head.Kind, err)
		}
		fmt.Println(head.Kind)
	}
}
