// The page in Airflow's UI: what its script loads, and which view stands where. It shows and calls the API below
// runctl/, and knows nothing about runs by itself. Airflow looks for the component under the name it was announced by.

import { Around, Looks, Wall, h } from "./parts.js";
import { History, Live } from "./views.js";

const NAME = "External runs";

function Page({ dagId, runId, taskId, mapIndex }) {
  const view =
    dagId && runId
      ? h(History, { key: [dagId, runId, taskId, mapIndex].join(), dagId, runId, taskId, mapIndex })
      : h(Live, { key: [dagId, taskId].join(), dagId, taskId });
  return h(Wall, null, h(Looks), h(Around, null, view));
}

globalThis[NAME] = Page;
