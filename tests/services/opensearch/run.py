"""One OpenSearch node for a whole test run."""

from tests.services import supervised
from tests.services.opensearch.nodes import OpenSearchNodes


def _start() -> tuple[OpenSearchNodes, list[str]]:
    nodes = OpenSearchNodes.make(is_brief=True)
    try:
        nodes.start()
    except BaseException:
        nodes.remove()
        raise
    return nodes, list(nodes.urls)


if __name__ == "__main__":
    supervised.main(_start)
